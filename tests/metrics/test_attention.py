"""DS-Net's attention weights: softmax by hand, blocks by name, pruned modules."""

import math
from typing import get_args

import pytest
import torch
from torch import nn

from advarch.backbones.ds_net import Block, DSNet
from advarch.errors import InputError
from advarch.metrics.attention import attention

X, Y = torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.long)
LOGITS = [[0.0, math.log(3)], [math.log(4), 0.0], [0.5, 0.5]]


def network(**options: object) -> nn.Module:
    net = DSNet(
        **{"classes": 2, "in_channels": 1, "channels": 2, "factor": 1, "modules": 3, "blocks": ["dense", "residual"]} | options
    )  # fmt: skip
    return nn.Sequential(nn.Identity(), net)


@pytest.mark.parametrize("kind", ["softmax", "fixed"])
def test_weights_by_depth(kind: str) -> None:
    found = attention(network(attention=kind, attention_init=LOGITS), X, Y)
    assert found.table["module"] == [1, 1, 2, 2, 3, 3]
    assert found.table["block"] == ["dense", "residual"] * 3
    weights = [1 / 4, 3 / 4, 4 / 5, 1 / 5, 1 / 2, 1 / 2]
    assert found.table["weight"] == pytest.approx(weights, rel=1e-6)
    entropy = -sum(weight * math.log(weight) for weight in weights) / 3
    assert found.numbers == pytest.approx({"largest": 4 / 5, "entropy": entropy}, rel=1e-6)


def test_pruned_modules_have_the_blocks_they_kept() -> None:
    found = attention(network(attention="fixed", attention_init=LOGITS, keep=1), X, Y)
    assert list(zip(found.table["module"], found.table["block"], found.table["weight"], strict=True)) == [
        (1, "residual", 1.0),
        (2, "dense", 1.0),
        (3, "dense", 1.0),
    ]
    assert found.numbers == {"largest": 1.0, "entropy": 0.0}


def test_every_block_has_the_name_it_is_configured_by() -> None:
    blocks = list(get_args(Block))
    found = attention(network(blocks=blocks, attention_init="equal"), X, Y)
    assert found.table["block"] == blocks * 3
    assert found.numbers["entropy"] == pytest.approx(math.log(len(blocks)))


def test_another_network_is_refused() -> None:
    with pytest.raises(InputError, match="attention: expected a DS-Net"):
        attention(nn.Linear(2, 2), X, Y)
