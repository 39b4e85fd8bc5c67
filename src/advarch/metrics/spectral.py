"""Largest singular values of convolutions: by power iteration, and exactly through the Fourier transform."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from advarch.metrics.power_iteration import power_iteration
from advarch.noise import normal

POWER_STEPS = 50


def kernel_norm(weight: Tensor, *, groups: int = 1, steps: int = POWER_STEPS) -> Tensor:
    """||W||_2 of a kernel written as a matrix, by power iteration (Yoshida & Miyato 2017, RACL's [59]).

    W is (out, in * height * width), of a grouped convolution block diagonal with a block for each group. It differs from the
    convolution's own norm.

    Args:
        weight: (out, in / groups, height, width) or (out, in).
        groups: of the convolution.
        steps: of the iteration, at least 1.
    """
    blocks = weight.reshape(groups, weight.shape[0] // groups, -1)
    start = _drawn(blocks[..., 0])
    norms, _ = power_iteration(blocks, start / start.norm(dim=-1, keepdim=True), iterations=steps)
    return norms.amax()


def linear_norm(linear: Callable[[Tensor], Tensor], like: Tensor, *, steps: int = POWER_STEPS) -> Tensor:
    """||A||_2 of any linear map by power iteration on A^T A: from below, and never above.

    Args:
        linear: A, tensors shaped as `like` -> tensors; without a bias.
        like: gives the shape, type and device of what A takes, with a batch of one.
        steps: of the iteration.
    """
    x = _drawn(like)
    for _ in range(steps):
        with torch.enable_grad():
            x = (x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)).requires_grad_()
            y = linear(x)
            (x,) = torch.autograd.grad(y, x, y.detach())
    # A^T A x of a unit x comes near the square of the norm.
    return x.norm().sqrt()


def circular_norm(
    weight: Tensor,
    size: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """||A||_2 of a convolution with circular padding, exact (Sedghi et al. 2019): max_k ||K(k)||_2.

    K(k) is the (out, in) matrix of the kernel's Fourier transform at frequency k. Stride s folds the s_h s_w frequencies
    that it can't tell apart side by side, divided by sqrt(s_h s_w). The zero-padded convolution on maps of n pixels is a part
    of the circular one on n + dilation (kernel - 1), so its norm is at most that one's.

    Args:
        weight: (out, in / groups, height, width).
        size: height and width of the map, rounded up to multiples of the stride.
        stride: of the convolution.
        dilation: of its kernel.
        groups: of its channels.
    """
    height, width = (math.ceil(n / s) * s for n, s in zip(size, stride, strict=True))
    out, each, rows, columns = weight.shape
    # Where the kernel is larger than the map, it wraps around.
    down = torch.arange(rows, device=weight.device) * dilation[0] % height
    across = torch.arange(columns, device=weight.device) * dilation[1] % width
    tall = weight.new_zeros(out, each, height, columns).index_add(2, down, weight)
    kernel = weight.new_zeros(out, each, height, width).index_add(3, across, tall)
    folded = torch.fft.fft2(kernel).view(
        groups, out // groups, each, stride[0], height // stride[0], stride[1], width // stride[1]
    )
    blocks = folded.permute(4, 6, 0, 1, 2, 3, 5).flatten(4)
    # A real kernel's other half is the complex conjugate.
    half = blocks[: blocks.shape[0] // 2 + 1]
    return torch.linalg.matrix_norm(half, ord=2).amax() / math.sqrt(stride[0] * stride[1])


def convolution_norm(convolution: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """`circular_norm` of a convolution on maps of that size."""
    return circular_norm(
        convolution.weight.detach(),
        size,
        stride=(convolution.stride[0], convolution.stride[1]),
        dilation=(convolution.dilation[0], convolution.dilation[1]),
        groups=convolution.groups,
    )


def padded_norm(convolution: nn.Conv2d, size: tuple[int, int], *, steps: int = POWER_STEPS) -> Tensor:
    """The norm of a convolution with its own padding on maps of that size, by power iteration."""
    weight = convolution.weight.detach()

    def linear(x: Tensor) -> Tensor:
        return convolution._conv_forward(x, weight, None)

    return linear_norm(linear, weight.new_empty(1, convolution.in_channels, *size), steps=steps)


def _drawn(like: Tensor) -> Tensor:
    """Always the same normal numbers."""
    return normal(like, None)
