"""What the edges of a cell compute (Zoph et al. 2018; Liu et al. 2019). Every convolution is without bias.

A convolution is pre-activated: activation, convolution, batch normalisation. Stride 2 gives maps of ceil(n / 2) pixels for every
operation, so the results of any two can be added, on odd maps too.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.errors import InputError
from advarch.genotype.operations import OPERATIONS
from advarch.layers.activations import Activation, make_activation


class FactorizedReduce(nn.Module):
    """Half the map, any channels: two 1x1 convolutions of stride 2, one on the even and one on the odd pixels, side by side."""

    def __init__(self, in_channels: int, out_channels: int, affine: bool, act: Activation) -> None:
        super().__init__()
        self.act = make_activation(act)
        self.even = nn.Conv2d(in_channels, out_channels // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - out_channels // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        height, width = x.shape[-2:]
        # An odd map has one odd pixel fewer than even ones in a row; zeros stand in for it.
        shifted = F.pad(x, (0, width % 2, 0, height % 2)) if width % 2 or height % 2 else x
        return self.norm(torch.cat([self.even(x), self.odd(shifted[:, :, 1:, 1:])], dim=1))


class Zero(nn.Module):
    """No connection: zeros of the size the others have."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


def pointwise(in_channels: int, out_channels: int, affine: bool, act: Activation) -> nn.Sequential:
    """Activation, 1x1 convolution, normalisation: how a cell brings its inputs to its own width."""
    return nn.Sequential(
        make_activation(act),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels, affine=affine),
    )


def depthwise(
    channels: int, kernel: int, stride: int, dilation: int, affine: bool, act: Activation
) -> list[nn.Module]:
    """Activation, depthwise convolution, 1x1 convolution, normalisation."""
    padding = dilation * (kernel - 1) // 2
    return [
        make_activation(act),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def separable(channels: int, kernel: int, stride: int, affine: bool, act: Activation) -> nn.Module:
    """The depthwise step twice; the first one has the stride."""
    first = depthwise(channels, kernel, stride, 1, affine, act)
    return nn.Sequential(*first, *depthwise(channels, kernel, 1, 1, affine, act))


def dilated(channels: int, kernel: int, stride: int, affine: bool, act: Activation) -> nn.Module:
    """The depthwise step once, every other pixel under the kernel."""
    return nn.Sequential(*depthwise(channels, kernel, stride, 2, affine, act))


def factorised(channels: int, kernel: int, stride: int, affine: bool, act: Activation) -> nn.Module:
    """A full 1 x k and then a k x 1 convolution, each with the stride along its own length."""
    half = kernel // 2
    return nn.Sequential(
        make_activation(act),
        nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, half), bias=False),
        nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (half, 0), bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


_CONVOLUTIONS: dict[str, Callable[[int, int, int, bool, Activation], nn.Module]] = {
    "separable": separable,
    "dilated": dilated,
    "factorised": factorised,
}


def operation(
    name: str, channels: int, stride: int, *, affine: bool = True, act: Activation = "relu"
) -> nn.Module:
    """The operation of an edge, `channels` in and out.

    Args:
        name: a key of `OPERATIONS`.
        stride: 1 or 2; a skip of stride 2 is a FactorizedReduce.
        affine: whether batch normalisation has a scale and a shift.
        act: the activation before convolutions.

    Raises:
        InputError: an unknown name.
    """
    if name not in OPERATIONS:
        raise InputError(f"operation: unknown name {name!r}; expected one of: {', '.join(OPERATIONS)}")
    family, kernel, _ = OPERATIONS[name]
    if family in _CONVOLUTIONS:
        return _CONVOLUTIONS[family](channels, kernel, stride, affine, act)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(kernel, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(kernel, stride, 1, count_include_pad=False)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine, act)
    return Zero(stride)
