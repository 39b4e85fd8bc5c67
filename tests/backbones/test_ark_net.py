"""Runge-Kutta networks: sizes counted from the table of layers, the order of their parts."""

from functools import partial

import pytest
import torch
from torch import nn

from advarch.backbones.ark_net import ArkNet
from advarch.layers.residual_branches import (
    ArkBlock,
    DownBlock,
    ResidualBlock,
    Ssp2Block,
    Ssp3Block,
)
from advarch.metrics.cost import size

# How often a block of each scheme computes its branch.
STAGES = {"residual": 1, "ark": 2, "ssp2": 2, "ssp3": 3}


def counted(blocks: int, channels, schemes, normed: bool, classes: int) -> tuple[int, int]:
    """Parameters and multiply-adds on 3x32x32 images."""
    parameters, macs = 27 * channels[0] + channels[0], 27 * channels[0] * 1024
    before, pixels = channels[0], 1024
    for group, (c, scheme) in enumerate(zip(channels, schemes, strict=True)):
        if group:
            pixels //= 4
            weights = 9 * before * c + 9 * c * c + before * c
            # Biases and norms: of the branch, of the shortcut, and at the end.
            parameters += weights + 2 * c + 2 * before + 2 * c + 2 * c + 2 * c * normed
            macs += weights * pixels
        scalars = 2 if scheme == "ark" else 0
        parameters += blocks * (18 * c * c + 2 * c + 4 * c + scalars + 2 * c * normed)
        macs += blocks * STAGES[scheme] * 18 * c * c * pixels
        before = c
    return parameters + 2 * before * (not normed) + before * classes + classes, macs + before * classes


@pytest.mark.parametrize(
    ("blocks", "channels", "schemes", "normed"),
    [
        (10, (16, 32, 64), ("ark", "residual", "ssp2"), False),
        (2, (4, 6, 10), ("ssp3", "ark", "ark"), True),
        (9, (80, 160, 320), ("ark", "residual", "ssp2"), True),
    ],
)
def test_sizes_are_those_of_the_table_of_layers(blocks: int, channels, schemes, normed: bool) -> None:
    build = partial(ArkNet, in_channels=3, blocks=blocks, channels=channels, schemes=schemes, normed=normed)
    found = size(partial(build, classes=10), (3, 32, 32))
    assert (found.parameters, found.macs) == counted(blocks, channels, schemes, normed, 10)


def test_the_width_that_matches_ds_net_s_ada_rk_net() -> None:
    parameters, _ = counted(9, (80, 160, 320), ("ark", "residual", "ssp2"), True, 10)
    assert round(parameters / 1e6, 2) == 23.61


def test_parts_come_in_order_and_only_normed_blocks_end_with_a_norm() -> None:
    net = ArkNet(classes=5, in_channels=1, blocks=1, channels=(4, 6, 8), schemes=("ssp2", "ssp3", "ark"))
    kinds = [[type(block) for block in group] for group in net.groups]  # type: ignore[union-attr]
    assert kinds == [[Ssp2Block], [DownBlock, Ssp3Block], [DownBlock, ArkBlock]]
    assert all(isinstance(block.norm, nn.Identity) for group in net.groups for block in group)  # type: ignore[union-attr]
    assert isinstance(net.last[0], nn.BatchNorm2d)  # type: ignore[index]
    normed = ArkNet(
        classes=5, in_channels=1, blocks=1, channels=(4, 6, 8), schemes=("residual",) * 3, normed=True
    )
    assert [type(b) for b in normed.groups[0]] == [ResidualBlock]  # type: ignore[arg-type]
    assert all(isinstance(block.norm, nn.BatchNorm2d) for group in normed.groups for block in group)  # type: ignore[union-attr]
    assert isinstance(normed.last, nn.Identity)
    assert net(torch.rand(2, 1, 28, 28)).shape == normed(torch.rand(2, 1, 9, 8)).shape == (2, 5)
