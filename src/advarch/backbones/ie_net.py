"""Residual networks of implicit Euler blocks (IE-skips, Li et al. 2020), as DS-Net's tables compare with them."""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.branch_convolutions import BlockKind, branch_convolutions
from advarch.layers.implicit_euler import (
    EPS,
    ExplicitBlock,
    ImplicitEulerBlock,
    NormedBranch,
)
from advarch.layers.initialisation import he_fan_out


class IENet(nn.Module):
    """A 3x3 stem, stages of pre-activation blocks, norm, ReLU, and a linear head on the average-pooled features.

    The first block of a stage changes the channels, and but in the first stage halves the map: it is an explicit step. All
    other blocks are implicit ones. No norm has parameters.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        depths: blocks of each stage.
        channels: of each stage's 3x3 convolutions.
        block: two 3x3 convolutions, or 1x1, 3x3, 1x1.
        expansion: a block's output channels over those of its 3x3 convolution; 1 for basic blocks.
        stem_channels: what the stem puts out.
        steps: gradient steps of a block; 0 leaves an ordinary residual network.
        step_size: length of such a step.

    Raises:
        ValueError: lists of different lengths; basic blocks with expansion.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        depths: Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)],
        channels: Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)],
        block: BlockKind,
        expansion: Annotated[int, Ge(1)] = 1,
        stem_channels: Annotated[int, Ge(1)] = 16,
        steps: Annotated[int, Ge(0)] = 1,
        step_size: Annotated[float, Ge(0)] = 0.1,
    ) -> None:
        super().__init__()
        if len(depths) != len(channels):
            raise ValueError(
                f"channels: expected one number per stage, {len(depths)} as in depths, came {len(channels)}"
            )
        if block == "basic" and expansion != 1:
            raise ValueError(
                f"expansion: expected 1 with basic blocks, came {expansion}; take block=bottleneck"
            )
        self.stem = nn.Conv2d(in_channels, stem_channels, 3, 1, 1, bias=False)
        width, blocks = stem_channels, nn.Sequential()
        for stage, (depth, inner) in enumerate(zip(depths, channels, strict=True)):
            out = inner * expansion
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                branch = NormedBranch(branch_convolutions(block, width, inner, out, stride=stride))
                if index == 0 and (width != out or stride != 1):
                    blocks.append(ExplicitBlock(branch, nn.Conv2d(width, out, 1, stride, bias=False)))
                else:
                    blocks.append(ImplicitEulerBlock(branch, steps=steps, step_size=step_size))
                width = out
        self.blocks = blocks
        self.head = nn.Linear(width, classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.blocks(self.stem(x)))

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last block's map."""
        x = F.relu(F.group_norm(x, 1, eps=EPS))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """The network's blocks in a row."""
        return Chain(self.stem, list(self.blocks), self.classify)
