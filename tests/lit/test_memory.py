"""A defense that remembers, in a training that is broken off and resumed."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from advarch.attacks.instance_pgd import instance_pgd
from advarch.defenses.iaat import IAAT
from tests.lit.test_train_module import THREAT, fit, network, recipe

ATTACK = partial(instance_pgd, threat=THREAT, steps=2, step_size=0.02)


class Breaking(IAAT):
    """Radii that move fast, and a failure at the given step."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__(eps=0.05, gamma=0.02, beta=0.5, warm_up=1.0)
        self.at, self.steps = at, 0

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        if self.steps == self.at:
            raise KeyError("out of memory")
        self.steps += 1
        return super().__call__(*arguments, **settings)


@pytest.mark.parametrize("at", [4, 5, 7])
def test_radii_survive_a_training_that_was_broken_off(at: int, tmp_path: Path) -> None:
    """Two batches an epoch: broken off at the beginning and in the middle of the third epoch, and in the fourth."""
    (whole_folder := tmp_path / "whole").mkdir()
    (folder := tmp_path / "broken").mkdir()
    whole, broken, resumed = Breaking(), Breaking(at), Breaking()
    plan = partial(recipe, 4, attack=ATTACK, images=22)
    expected = fit(whole_folder, plan(defense=whole))
    with pytest.raises(KeyError, match="out of memory"):
        fit(folder, plan(defense=broken), model=network())
    found = fit(folder, plan(defense=resumed), model=network(), resume=True)
    assert torch.equal(resumed.radii, whole.radii) and len(set(whole.radii.tolist())) >= 4
    weights = expected.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in found.model.state_dict().items())
    assert torch.equal(found.checkpoint("last")["defense"]["radii"], whole.radii)
