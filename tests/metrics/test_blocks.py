"""Blocks are found in every kind of network, in order, and what they put out is what they put out."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from advarch.backbones.cell_net import CellNet
from advarch.backbones.densenet import DenseNet
from advarch.backbones.ds_net import DSNet
from advarch.backbones.mobilenet_v2 import MobileNetV2
from advarch.backbones.normalised import normalised
from advarch.backbones.vgg import VGG
from advarch.backbones.wide_resnet import WideResNet
from advarch.metrics.blocks import blocks, watching

SHAPE: dict[str, Any] = {"classes": 3, "in_channels": 1}

NETWORKS = {
    "wide_resnet": (
        partial(WideResNet, depths=[1, 2, 1], widths=[1, 1, 1]),
        ["stages.0.0", "stages.1.0", "stages.1.1", "stages.2.0"],
    ),
    "ds_net": (partial(DSNet, channels=4, modules=3), [f"stages.{i}" for i in range(5)]),
    "cell_net": (partial(CellNet, genotype="racl_v1", cells=3, channels=2), [f"cells.{i}" for i in range(3)]),
    "mobilenet_v2": (partial(MobileNetV2, width=0.1), [f"features.{i}" for i in range(3, 20)]),
    "densenet": (partial(DenseNet, depths=[2, 1], channels=[4, 4], growth=2), ["blocks.0", "blocks.1", "blocks.6"]),
    "vgg, whose layers have no parts": (partial(VGG, channels=[[2], [2, 2]]), ["features.0", "features.4", "features.7"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_blocks_are_those_a_reader_would_name(name: str) -> None:
    make, names = NETWORKS[name]
    with torch.device("meta"):
        network = make(**SHAPE)
        assert list(blocks(network)) == names
        behind = normalised(network, [0.5], [0.5])
    found = blocks(behind)
    assert list(found) == [f"1.{each}" for each in names]
    assert all(found[f"1.{each}"] is network.get_submodule(each) for each in names)


def test_blocks_of_a_stranger_s_network_are_looked_for_further_inside() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.device("meta"):
                self.body = WideResNet(depths=[1, 1, 1], widths=[1, 1, 1], **SHAPE)

    assert list(blocks(Wrapped())) == ["body.stages.0.0", "body.stages.1.0", "body.stages.2.0"]


def test_watching_keeps_outputs_in_the_order_of_the_pass_and_leaves_no_hook() -> None:
    first, second = (nn.Linear(2, 2, bias=False) for _ in range(2))
    nn.init.constant_(first.weight, 1.0)
    nn.init.constant_(second.weight, 2.0)
    x = torch.tensor([[1.0, 2.0]])
    with watching({"second": second, "first": first}) as outputs:
        second(first(x))
        assert list(outputs) == ["first", "second"]
        assert outputs["first"].tolist() == [[3.0, 3.0]] and outputs["second"].tolist() == [[12.0, 12.0]]
    second(first(2 * x))
    assert outputs["first"].tolist() == [[3.0, 3.0]]
