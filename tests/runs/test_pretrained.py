"""search.pretrained: the backbone that a supernet dilates starts from a run's weights or a file's; what can't be is explained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advarch.errors import InputError
from advarch.runs import weights
from advarch.runs.search import load_backbone
from tests.search.small import dilated_supernet


def config(pretrained: Path | None, backbone: str = "pretrained_frozen") -> dict[str, Any]:
    named = None if pretrained is None else str(pretrained)
    return {"search": {"pretrained": named, "method": {"backbone": backbone}}, "dataset": {}}


@pytest.mark.parametrize("folder", [True, False])
def test_a_backbone_gets_the_weights_that_are_named_and_the_dilation_stays(
    tmp_path: Path, folder: bool
) -> None:
    trained, net = dilated_supernet(seed=0), dilated_supernet(seed=1)
    cells = [p.clone() for p in net.hybrid.dilation.parameters()]
    weights.save(trained.base.state_dict(), tmp_path / "model.safetensors")
    load_backbone(config(tmp_path if folder else tmp_path / "model.safetensors"), net)
    state = net.base.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.base.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(cells, net.hybrid.dilation.parameters(), strict=True))


def test_weights_that_are_missing_or_another_network_s_are_explained(tmp_path: Path) -> None:
    net = dilated_supernet()
    load_backbone(config(None, "alternating"), net)
    with pytest.raises(InputError, match=r"search\.pretrained: expected a trained run's folder .* came null"):
        load_backbone(config(None), net)
    weights.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"search\.pretrained: expected weights of this network"):
        load_backbone(config(tmp_path), net)
