"""The convolutions of a residual block's branch, basic or bottleneck (He et al. 2016)."""

from typing import Literal

from torch import nn

BlockKind = Literal["basic", "bottleneck"]
"""Two 3x3 convolutions; or 1x1, 3x3, 1x1."""


def branch_convolutions(
    kind: BlockKind, in_channels: int, inner: int, out_channels: int, *, stride: int, groups: int = 1
) -> list[nn.Conv2d]:
    """New convolutions without biases; the stride is in the first 3x3 one, as are a bottleneck's groups."""
    if kind == "basic":
        return [
            nn.Conv2d(in_channels, inner, 3, stride, 1, bias=False),
            nn.Conv2d(inner, out_channels, 3, 1, 1, bias=False),
        ]
    return [
        nn.Conv2d(in_channels, inner, 1, bias=False),
        nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False),
        nn.Conv2d(inner, out_channels, 1, bias=False),
    ]
