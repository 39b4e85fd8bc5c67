"""Layers whose weights are constants, in forms that are several times faster on CPUs where only the images' gradient is asked for."""

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advarch.layers.cell_operations import FactorizedReduce

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class Depthwise(torch.autograd.Function):
    """A depthwise convolution of an odd window that keeps the map, or its every second pixel; its weights are constants.

    The images' gradient is the convolution of the output's with the weights turned by 180 degrees, on zeros where pixels were
    left out: on CPUs several times faster than torch's backward pass, which is slow for dilated depthwise convolutions.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.stride, ctx.dilation, ctx.shape = stride, dilation, x.shape
        return _convolved(x, weight, bias, stride, dilation)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (weight,) = given, ctx.saved_tensors
        if ctx.stride > 1:
            whole = gradient.new_zeros(ctx.shape)
            whole[:, :, :: ctx.stride, :: ctx.stride] = gradient
            gradient = whole
        # A backward pass on a GPU is not under autocast.
        flipped = weight.flip(2, 3).to(gradient.dtype)
        return _convolved(gradient, flipped, None, 1, ctx.dilation), None, None, None, None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, bias, stride, padding, dilation, len(weight))


class FrozenDepthwise(nn.Module):
    """`Depthwise` as a layer.

    Args:
        like: the convolution it is a copy of.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(like.weight.detach().clone(), requires_grad=False)
        self.bias = (
            None if like.bias is None else nn.Parameter(like.bias.detach().clone(), requires_grad=False)
        )
        self.stride, self.dilation = like.stride[0], like.dilation[0]

    def forward(self, x: Tensor) -> Tensor:
        return Depthwise.apply(x, self.weight, self.bias, self.stride, self.dilation)


class Joint:
    """The two convolutions of a `FactorizedReduce` as one of 2x2 pixels, which are even and odd, and two zeros."""

    bias = None

    def __init__(self, reduce: FactorizedReduce) -> None:
        self.reduce = reduce

    @property
    def weight(self) -> Tensor:
        """(c, inputs, 2, 2)."""
        even, odd = self.reduce.even.weight, self.reduce.odd.weight
        return torch.cat([F.pad(even, (0, 1, 0, 1)), F.pad(odd, (1, 0, 1, 0))])


class FrozenReduction(nn.Module):
    """A `FactorizedReduce` behind its activation as one convolution, with its normalisation as a bias.

    Args:
        like: what it is a copy of.
    """

    def __init__(self, like: Joint) -> None:
        super().__init__()
        self.weight = nn.Parameter(like.weight.detach(), requires_grad=False)
        self.bias: nn.Parameter | None = None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # Zeros stand in for the odd pixels that an odd map lacks.
        whole = F.pad(x, (0, width % 2, 0, height % 2)) if width % 2 or height % 2 else x
        return F.conv2d(whole, self.weight, self.bias, 2)


class Alone:
    """A normalisation that no convolution precedes, as the identity it could be folded into."""

    bias = None

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm

    @property
    def weight(self) -> Tensor:
        """Ones (c, 1, 1, 1)."""
        assert self.norm.running_mean is not None
        return torch.ones_like(self.norm.running_mean).view(-1, 1, 1, 1)


class ScaledReLU(torch.autograd.Function):
    """max(0, a x + h) of constant scales a and shifts h: one map is made, and one in its backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y = torch.addcmul(shift, x, scale).relu_()
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (y, scale) = given, ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, y, 0).mul_(scale), None, None


class FrozenNorm(nn.Module):
    """A normalisation by running statistics as a scale and a shift of each channel, with the ReLU behind it if there is one.

    Torch's own takes its statistics to scales at each call, and twice as long for its backward pass as for a product.

    Args:
        like: what it is a copy of.
        relu: whether a ReLU comes behind it.
    """

    def __init__(self, like: Alone, relu: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(like.weight, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros_like(like.weight).flatten(), requires_grad=False)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != self.weight.dtype:
            return self(x.to(self.weight.dtype)).to(x.dtype)
        # What is laid out otherwise comes out of torch's own contiguous, and a view behind it may need that.
        if not (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)):
            x = x.contiguous()
        shape = (-1, *(1 for _ in x.shape[2:]))
        scale, shift = self.weight.view(shape), self.bias.view(shape)
        return ScaledReLU.apply(x, scale, shift) if self.relu else torch.addcmul(shift, x, scale)


def pays(layer: nn.Module) -> bool:
    """Whether `FrozenDepthwise` can stand for the layer and is faster: torch's own is as fast without dilation."""
    if type(layer) is not nn.Conv2d or layer.weight.device.type != "cpu":
        return False
    (kernel, width), (stride, *_), (dilation, *_) = layer.kernel_size, layer.stride, layer.dilation
    half = dilation * (kernel // 2)
    square = kernel == width and kernel % 2 == 1 and len({*layer.stride}) == len({*layer.dilation}) == 1
    depthwise = 1 < layer.groups == layer.in_channels == layer.out_channels
    padded = layer.padding == (half, half) and layer.padding_mode == "zeros"
    return square and depthwise and padded and kernel > 1 and stride <= 2 and dilation > 1


def joins(layer: nn.Module) -> TypeGuard[FactorizedReduce]:
    """Whether `FrozenReduction` can stand for the layer."""
    if type(layer) is not FactorizedReduce or layer.even.weight.device.type != "cpu":
        return False
    plain = type(layer.even) is type(layer.odd) is nn.Conv2d
    return plain and type(layer.norm) in NORMS and layer.norm.running_mean is not None


def stands_alone(layer: nn.Module, dtype: torch.dtype | None) -> TypeGuard[_BatchNorm]:
    """Whether `FrozenNorm` can stand for the layer; under autocast (`dtype`) torch's own keeps the maps' precision."""
    if type(layer) not in NORMS or dtype is not None:
        return False
    mean = layer.running_mean
    return (
        isinstance(mean, Tensor)
        and mean.device.type == "cpu"
        and mean.dtype in (torch.float32, torch.float64)
    )
