"""Layers of constant weights: the outputs, gradients and second derivatives of those they stand for."""

import pytest
import torch
from torch import Tensor, nn

from advarch.layers.cell_operations import FactorizedReduce
from advarch.layers.frozen import (
    Alone,
    FrozenDepthwise,
    FrozenNorm,
    FrozenReduction,
    Joint,
    joins,
    pays,
    stands_alone,
)
from tests.backbones.lived_in import lived_in


def depthwise(kernel: int = 3, stride: int = 1, dilation: int = 1, **options) -> nn.Conv2d:
    options = {"padding": dilation * (kernel // 2), "groups": 4, "bias": False} | options
    return nn.Conv2d(4, 4, kernel, stride, dilation=dilation, **options)


def derivatives(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, input gradient of a function of it, and the gradient of that gradient's squared length."""
    y = layer(x.requires_grad_())
    (first,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return [y, first, second]


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (5, 1, 1), (3, 1, 2), (5, 2, 2), (3, 2, 2)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_depthwise_convolution_and_its_derivatives_are_torch_s(
    kernel: int, stride: int, dilation: int, bias: bool
) -> None:
    layer = depthwise(kernel, stride, dilation, bias=bias).double()
    assert pays(layer) == (dilation > 1)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(
        derivatives(FrozenDepthwise(layer), x), derivatives(layer, x), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    "layer",
    [
        depthwise(),
        depthwise(dilation=2, stride=4),
        depthwise(dilation=2, kernel=1),
        depthwise(dilation=2, padding=0),
        depthwise(dilation=2, padding_mode="circular"),
        depthwise(dilation=2, groups=2),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4),
        nn.Conv2d(1, 1, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, (1, 3), padding=(0, 2), dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, (1, 2), padding=2, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=4),
        nn.Linear(4, 4),
        depthwise(dilation=2).to("meta"),
    ],
    ids=str,
)
def test_any_other_layer_or_device_is_left_to_torch(layer: nn.Module) -> None:
    assert not pays(layer)


@pytest.mark.parametrize("pixels", [(8, 8), (7, 8), (8, 7), (7, 5)])
def test_a_reduction_is_one_convolution_of_the_activated_map(pixels: tuple[int, int]) -> None:
    layer = FactorizedReduce(4, 7, affine=False, act="relu").double()
    layer.norm = nn.Identity()
    x = torch.randn(2, 4, *pixels, dtype=torch.float64)
    frozen = nn.Sequential(layer.act, FrozenReduction(Joint(layer)))
    torch.testing.assert_close(derivatives(frozen, x), derivatives(layer, x), rtol=0, atol=1e-12)


def test_a_reduction_is_joined_on_a_cpu_where_its_norm_can_be_folded() -> None:
    layer = lived_in(FactorizedReduce(4, 8, affine=True, act="relu"))
    assert joins(layer)
    assert not joins(FactorizedReduce(4, 8, affine=True, act="relu").to("meta"))
    layer.norm = nn.BatchNorm2d(8, track_running_stats=False)
    assert not joins(layer)


def frozen_norm(norm: nn.BatchNorm2d, relu: bool) -> FrozenNorm:
    """a = g / sqrt(v + eps), h = b - m a."""
    made = FrozenNorm(Alone(norm), relu)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    made.weight.data.copy_(scale.view(-1, 1, 1, 1))
    made.bias.data.copy_(norm.bias - norm.running_mean * scale)
    return made


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("relu", [True, False])
def test_a_norm_alone_and_its_derivatives_are_torch_s(relu: bool, layout: torch.memory_format) -> None:
    norm = lived_in(nn.BatchNorm2d(4)).double().eval()
    with torch.no_grad():
        norm.weight[0] *= -1
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64).to(memory_format=layout)
    plain = nn.Sequential(norm, nn.ReLU()) if relu else norm
    mine = frozen_norm(norm, relu)
    torch.testing.assert_close(derivatives(mine, x), derivatives(plain, x), rtol=0, atol=1e-12)
    assert mine(x).is_contiguous(memory_format=layout)
    # Half precision goes through the scales' own.
    assert mine(x.half()).dtype == torch.half
    torch.testing.assert_close(mine(x.half()), plain(x.half().double()).half(), rtol=0, atol=0)


@pytest.mark.parametrize("relu", [True, False])
def test_a_map_in_any_order_comes_out_in_torch_s(relu: bool) -> None:
    norm = lived_in(nn.BatchNorm2d(4)).double().eval()
    plain, mine = nn.Sequential(norm, nn.ReLU()) if relu else norm, frozen_norm(norm, relu)
    whole = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    for x in (
        whole.transpose(2, 3),
        whole.permute(0, 1, 3, 2)[:, :, ::2],
        whole[:, :, :1].expand(-1, -1, 5, -1),
    ):
        assert mine(x).stride() == plain(x).stride()
        torch.testing.assert_close(mine(x), plain(x), rtol=0, atol=1e-12)


def test_on_the_kink_of_the_relu_the_slope_is_zero_as_torch_s() -> None:
    norm = nn.BatchNorm2d(1).double().eval()
    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(frozen_norm(norm, True)(x).sum(), x)
    assert slope.item() == 0


def test_a_norm_stands_alone_on_a_cpu_with_statistics_and_without_autocast() -> None:
    class Own(nn.BatchNorm2d):
        pass

    assert stands_alone(nn.BatchNorm2d(3), None) and stands_alone(nn.SyncBatchNorm(3), None)
    assert not stands_alone(nn.BatchNorm2d(3), torch.bfloat16)
    others = [
        nn.BatchNorm2d(3, track_running_stats=False),
        Own(3),
        nn.BatchNorm2d(3).half(),
        nn.GroupNorm(1, 3),
    ]
    assert not any(stands_alone(norm, None) for norm in [*others, nn.BatchNorm2d(3).to("meta")])
