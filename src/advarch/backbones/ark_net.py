"""Residual networks whose blocks are Runge-Kutta steps (Kim et al. 2020), with Ada-RK blocks the AdaRK-Net of DS-Net's tables."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Len
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.residual_branches import (
    ArkBlock,
    DownBlock,
    ResidualBlock,
    Ssp2Block,
    Ssp3Block,
)

Scheme = Literal["residual", "ark", "ssp2", "ssp3"]


class ArkNet(nn.Module):
    """A stem, three groups of blocks with a down-sampling residual block between two, norm, activation, and a linear head.

    The depth in the name is 6 blocks + 2. The reference code's network has Ada-RK steps in the first group, Euler steps in
    the second and SSP2 steps in the third. What stands before its head is not known; here it is a norm and an activation.
    With `normed` the blocks are DS-Net's, which end with a norm, and the head reads the last one.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        blocks: of each group.
        channels: of each group, the stem as the first.
        schemes: of each group: residual (Euler), ark, ssp2, ssp3.
        normed: a norm at the end of every block instead of one before the head.
        activation: of all blocks.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        blocks: Annotated[int, Ge(1)] = 10,
        channels: Annotated[Sequence[Annotated[int, Ge(1)]], Len(3, 3)] = (16, 32, 64),
        schemes: Annotated[Sequence[Scheme], Len(3, 3)] = ("ark", "residual", "ssp2"),
        normed: bool = False,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        makers: dict[Scheme, Callable[[int], nn.Module]] = {
            "residual": lambda width: ResidualBlock(width, activation, normed=normed),
            "ark": lambda width: ArkBlock(width, activation, normed=normed),
            "ssp2": lambda width: Ssp2Block(width, activation, normed=normed),
            "ssp3": lambda width: Ssp3Block(width, activation, normed=normed),
        }
        self.stem = nn.Conv2d(in_channels, channels[0], 3, 1, 1)
        groups: list[nn.Module] = []
        for group, (width, scheme) in enumerate(zip(channels, schemes, strict=True)):
            down = [DownBlock(channels[group - 1], width, activation, normed=normed)] if group else []
            groups.append(nn.Sequential(*down, *(makers[scheme](width) for _ in range(blocks))))
        self.groups = nn.Sequential(*groups)
        last = nn.Sequential(nn.BatchNorm2d(channels[-1]), make_activation(activation))
        self.last = nn.Identity() if normed else last
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.groups(self.stem(x)))

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last group's map."""
        x = self.last(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """The network's blocks in a row."""
        return Chain(self.stem, [block for group in self.groups for block in group.children()], self.classify)
