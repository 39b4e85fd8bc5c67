"""3x3 convolutions of constant weights by Winograd's F(4x4, 3x3): 36 products for 4x4 outputs in place of 144.

Y = A^T [(G g G^T) * (B^T d B)] A for the weights g of a pair of channels and a tile d of 6x6 inputs, summed over input channels
(Lavin and Gray 2016, section 4). On wide maps it is faster than a CPU's direct convolution; rounding is ten times as large,
1e-5 of the output in fp32.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE, WINDOW = 4, 6
"""Outputs and inputs of a tile, on a side."""

WIDE = 96
"""Channels from which it was faster."""

AT_ONCE = 1 << 20
"""Numbers of a temporary: what the tiles of a few images take stays in a core's cache."""

B_T = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
A_T = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


@cache
def _both_sides(matrix: tuple[tuple[float, ...], ...], dtype: torch.dtype) -> Tensor:
    """M (x) M, which takes the rows of X to those of M X M^T."""
    one = torch.tensor(matrix, dtype=torch.float64, device="cpu")
    return torch.kron(one, one).to(dtype)


def transformed(weight: Tensor) -> Tensor:
    """G g G^T of weights (outputs, inputs, 3, 3), as (36, inputs, outputs)."""
    outputs, inputs = weight.shape[:2]
    rows = weight.permute(2, 3, 1, 0).reshape(9, inputs * outputs)
    return (_both_sides(G, weight.dtype) @ rows).view(WINDOW**2, inputs, outputs)


class Winograd(torch.autograd.Function):
    """The convolution with padding 1; its gradient is the one with the weights of `back`, turned and transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(there, back)
        return _convolved(x, there, bias)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (there, back) = given, ctx.saved_tensors
        return Winograd.apply(gradient, back, there, None), None, None, None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same of transformed weights, a few images at a time, in the layout of the images."""
    (images, inputs, height, width), outputs = x.shape, weight.shape[2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1 + TILE * columns - width, 1, 1 + TILE * rows - height))
    made = torch.empty(
        (images, outputs, TILE * rows, TILE * columns),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    by_tile = made.permute(0, 2, 3, 1).view(images, rows, TILE, columns, TILE, outputs)
    numbers = WINDOW**2 * images * rows * columns * max(inputs, outputs)
    few = -(-images // -(-numbers // AT_ONCE))
    to_tiles, to_map = _both_sides(B_T, x.dtype), _both_sides(A_T, x.dtype)
    for part, into in zip(padded.split(few), by_tile.split(few), strict=True):
        d = _tiles(part, rows, columns)
        v = (to_tiles @ d.view(WINDOW**2, -1)).view(WINDOW**2, -1, inputs)
        y = to_map @ torch.bmm(v, weight).view(WINDOW**2, -1)
        y = y.view(TILE, TILE, len(part), rows, columns, outputs).permute(2, 3, 0, 4, 1, 5)
        into.copy_(y) if bias is None else torch.add(y, bias, out=into)
    last = x.is_contiguous(memory_format=torch.channels_last)
    if last and made.shape[-2:] == x.shape[-2:]:
        return made
    # Not a view: what follows may work in place, which autograd refuses on a view that a function of its own returns.
    layout = torch.channels_last if last else torch.contiguous_format
    return made[:, :, :height, :width].clone(memory_format=layout)


def _tiles(padded: Tensor, rows: int, columns: int) -> Tensor:
    """Of maps (images, height, width, channels) the tiles, which overlap by two pixels: (6, 6, images, rows, columns, channels)."""
    by_rows = padded.unfold(1, WINDOW, TILE)[:, :rows]
    both = by_rows.unfold(2, WINDOW, TILE)[:, :, :columns]
    return both.permute(4, 5, 0, 1, 2, 3).contiguous()


class FrozenWide(nn.Module):
    """`Winograd` as a layer; it holds nine times the numbers of the convolution's weights.

    Args:
        like: the convolution it is a copy of.
    """

    there: Tensor
    back: Tensor

    def __init__(self, like: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(like.weight.detach().clone(), requires_grad=False)
        self.bias = (
            None if like.bias is None else nn.Parameter(like.bias.detach().clone(), requires_grad=False)
        )
        self.settle()

    def settle(self) -> None:
        """Transform the weights as they are now."""
        self.there = transformed(self.weight)
        self.back = transformed(self.weight.flip(2, 3).transpose(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and x.numel() and x.dtype == self.there.dtype and fills(*x.shape[-2:]):
            return Winograd.apply(x, self.there, self.back, self.bias)
        return F.conv2d(x, self.weight, self.bias, padding=1)


def fills(height: int, width: int) -> bool:
    """Whether tiles cover such a map without much that is thrown away."""
    covered = TILE**2 * -(-height // TILE) * -(-width // TILE)
    return 4 * height * width >= 3 * covered


def wide(layer: nn.Module, dtype: torch.dtype | None) -> bool:
    """Whether `FrozenWide` can stand for the layer and is faster; in half precision (`dtype`: autocast's) the digits would not do."""
    if type(layer) is not nn.Conv2d or layer.weight.device.type != "cpu" or dtype is not None:
        return False
    if layer.weight.dtype not in (torch.float32, torch.float64):
        return False
    plain = (layer.kernel_size, layer.stride, layer.dilation) == (
        (3, 3),
        (1, 1),
        (1, 1),
    ) and layer.groups == 1
    padded = layer.padding == (1, 1) and layer.padding_mode == "zeros"
    return plain and padded and min(layer.in_channels, layer.out_channels) >= WIDE
