"""The layout of the network under evaluation: channels_last on a CPU, unless that corrupts memory; the same logits."""

import copy

import torch
from torch import nn

from advarch.backbones.wide_resnet import WideResNet
from advarch.stages.evaluate import lay_out


def test_a_safe_network_is_laid_out_and_answers_the_same() -> None:
    torch.manual_seed(0)
    net = WideResNet(classes=10, in_channels=3, depths=[1, 1, 1], widths=[1, 1, 1]).eval()
    other = copy.deepcopy(net)
    lay_out(other, torch.device("cpu"))
    assert other.stages[0][0].conv2.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index,union-attr]
    x = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(other(x), net(x), rtol=1e-4, atol=1e-5)


def test_a_network_that_layout_would_harm_keeps_its_own_on_a_cpu() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 1, stride=2))
    lay_out(net, torch.device("cpu"))
    weight = net[0].weight
    assert isinstance(weight, torch.Tensor)
    assert weight.is_contiguous() and not weight.is_contiguous(memory_format=torch.channels_last)
