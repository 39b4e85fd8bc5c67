"""NADAR's hybrid: how backbones are split, Eq. 2 written plainly, sizes counted from the genotype, mixed cells in their place."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advarch.backbones.ark_net import ArkNet
from advarch.backbones.cell_net import CellNet
from advarch.backbones.chain import Chain, split
from advarch.backbones.densenet import DenseNet
from advarch.backbones.dilated import Dilated, dilated
from advarch.backbones.ds_net import DSNet
from advarch.backbones.ie_net import IENet
from advarch.backbones.mobilenet_v2 import MobileNetV2
from advarch.backbones.preact_resnet import PreActResNet
from advarch.backbones.resnet import ResNet
from advarch.backbones.vgg import VGG
from advarch.backbones.wide_resnet import WideResNet
from advarch.errors import InputError
from advarch.genotype import stored
from advarch.genotype.cell import Genotype
from advarch.genotype.published import published
from advarch.metrics.cost import parameters
from tests.backbones.test_cell_net import op_cost

IMAGES = {"classes": 5, "in_channels": 3}
wrn = partial(WideResNet, depths=[2, 1, 1], widths=[1, 1, 1])

# A network, the channels of its stem, and of each block: how many layers, channels of the last map, whether the map is halved.
SPLITS: dict[str, tuple[Any, int, list[tuple[int, int, bool]]]] = {
    "wide_resnet": (wrn, 16, [(2, 16, False), (1, 32, True), (1, 64, True)]),
    "a first stage left out": (
        partial(WideResNet, depths=[0, 1, 2], widths=[1, 1, 1]),
        16,
        [(1, 32, True), (2, 64, True)],
    ),
    "resnet": (
        partial(ResNet, depths=[1, 2], channels=[8, 8], block="bottleneck", expansion=4, stem_channels=8, denoise=True),
        8,
        [(2, 32, False), (3, 32, True)],
    ),
    "resnet, imagenet": (
        partial(ResNet, depths=[1, 1], channels=[8, 16], stem_channels=8, stem="imagenet"),
        8,
        [(1, 8, False), (1, 16, True)],
    ),
    "preact_resnet": (partial(PreActResNet, depths=[2, 1], channels=[8, 16]), 8, [(2, 8, False), (1, 16, True)]),
    "vgg": (partial(VGG, channels=[[8], [16, 16]]), 3, [(3, 8, False), (7, 16, True), (1, 16, True)]),
    "densenet": (
        partial(DenseNet, depths=[2, 1], channels=[8, 8], growth=4),
        8,
        [(5, 8, False), (4, 12, True)],
    ),
    "mobilenet_v2": (
        partial(MobileNetV2, width=0.25),
        8,
        [(3, 8, False), (3, 8, True), (7, 24, True), (7, 1280, True)],
    ),
    "ark_net": (
        partial(ArkNet, blocks=1, channels=[4, 8, 16]),
        4,
        [(1, 4, False), (2, 8, True), (2, 16, True)],
    ),
    "ie_net": (
        partial(IENet, depths=[1, 2], channels=[8, 16], block="basic"),
        16,
        [(1, 8, False), (2, 16, True)],
    ),
    "ds_net": (
        partial(DSNet, channels=4, factor=2, modules=3, blocks=["residual", "ark"]),
        4,
        [(1, 4, False), (2, 8, True), (2, 16, True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLITS)
def test_a_backbone_is_split_where_its_maps_change_size(name: str) -> None:
    build, stem, expected = SPLITS[name]
    net = build(**IMAGES)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    found = split(net, 3)
    assert found.channels == stem
    assert [(b.layers.stop - b.layers.start, b.channels, b.halves) for b in found.blocks] == expected
    chain = net.chain()
    ends = [0, *(block.layers.stop for block in found.blocks)]
    assert [block.layers.start for block in found.blocks] == ends[:-1] and ends[-1] == len(chain.layers)
    assert net.training and all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    net.eval()
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(chain.classify(nn.Sequential(*chain.layers)(chain.stem(x))), net(x))


class Mixed(nn.Module):
    """A cell that is none: a linear map of both inputs; stands for a search's mixed cell."""

    def __init__(self, in_channels: tuple[int, int], out_channels: int, steps: tuple[int, int]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            nn.Conv2d(given, out_channels, 1, step) for given, step in zip(in_channels, steps, strict=True)
        )

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        return self.maps[0](older) + self.maps[1](newer)


def test_the_hybrid_is_the_sum_of_backbone_and_dilation_block_by_block() -> None:
    asked = []

    def make_cell(block: int, **options: Any) -> nn.Module:
        asked.append((block, *options.values()))
        step = 2 if options["reduction"] else 1
        older = 2 * step if options["older_is_larger"] else step
        return Mixed(options["in_channels"], options["out_channels"], (older, step))

    torch.manual_seed(0)
    base = wrn(**IMAGES).eval()
    net = Dilated(base, parts=split(base, 3), cells=2, make_cell=make_cell).eval()
    assert asked == [
        (0, (16, 16), 16, False, False),
        (0, (16, 16), 16, False, False),
        (1, (16, 16), 32, False, True),
        (1, (16, 32), 32, True, False),
        (2, (16, 32), 64, True, True),
        (2, (32, 64), 64, True, False),
    ]
    x = torch.rand(2, 3, 16, 16)
    cells = [block.cells for block in net.dilation]
    z0 = base.stem(x)
    a = cells[0][0](z0, z0)
    z1 = base.stages[0](z0) + cells[0][1](z0, a)
    b = cells[1][0](z0, z1)
    z2 = base.stages[1](z1) + cells[1][1](z1, b)
    c = cells[2][0](z1, z2)
    z3 = base.stages[2](z2) + cells[2][1](z2, c)
    torch.testing.assert_close(net(x), base.classify(z3))


def test_a_dilation_of_zeros_leaves_the_backbone() -> None:
    net = dilated(**IMAGES, base=wrn, genotype="nadar_a_like", cells=1).eval()
    with torch.no_grad():
        for parameter in net.dilation.parameters():
            parameter.zero_()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(net(x), net.base(x))


@pytest.mark.parametrize("name", ["nadar_b_like", "darts_v2"])
def test_the_dilation_has_the_parameters_that_the_genotype_says(name: str) -> None:
    with torch.device("meta"):
        net = dilated(**IMAGES, base=wrn, genotype=name, cells=2)
    expected, older, newer = 0, 16, 16
    for block, width in enumerate([16, 32, 64]):
        inner = (older, newer)
        for place in range(2):
            reduction = block > 0 and place == 0
            cell = published(name).cell(block, reduction=reduction)
            c = width // len(cell.concat)
            expected += sum(inner) * c + 4 * c
            for _, (op, source) in cell.edges:
                expected += op_cost(op, c, 2 if reduction and source < 2 else 1, 8, True)[0]
            inner = (inner[1], width)
        older, newer = newer, width
    assert parameters(net) - parameters(net.base) == expected


def test_a_genotype_may_have_a_cell_for_each_block() -> None:
    cells = tuple(published(name).cells[0] for name in ("nadar_a_like", "nadar_b_like", "darts_v1"))
    each = stored.to_plain(Genotype("found", "each", cells))
    net = dilated(**IMAGES, base=wrn, genotype=each, cells=1)
    alone = [
        dilated(**IMAGES, base=wrn, genotype=name, cells=1) for name in ("nadar_a_like", "nadar_b_like", "darts_v1")
    ]  # fmt: skip
    assert all(
        parameters(net.dilation[block]) == parameters(one.dilation[block])
        for block, one in enumerate(alone[:2])
    )
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    with pytest.raises(ValueError, match="a cell for each of the 3 blocks, came 2 cells"):
        dilated(**IMAGES, base=wrn, genotype=stored.to_plain(Genotype("found", "each", cells[:2])), cells=1)


class Quartering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 4, 4)

    def chain(self) -> Chain:
        return Chain(nn.Identity(), [self.body], nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": lambda **_: nn.Linear(2, 2)}, "base: expected a network that is a chain of layers, came Linear"),
        ({"base": partial(CellNet, genotype="darts_v2", cells=3, channels=4)}, "a chain of layers, came CellNet"),
        ({"base": lambda **_: Quartering()}, "base: expected layers that keep or halve a map, came 64 to 16 pixels"),
        ({"genotype": "amoebanet_a"}, "genotype: expected cells whose 3 output nodes divide the 16 channels of block 1"),
        ({"genotype": "darts"}, "genotype: unknown name 'darts'"),
    ],
)  # fmt: skip
def test_what_can_t_be_dilated_is_explained(options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, InputError)) as raised:
        dilated(**IMAGES, **({"base": wrn, "genotype": "nadar_b_like", "cells": 1} | options))
    assert said in str(raised.value)
