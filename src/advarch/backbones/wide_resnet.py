"""Wide residual networks with a depth and a width for each stage (Zagoruyko & Komodakis 2016; RobustWRN)."""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.drop_path import DropPath, Probability
from advarch.layers.initialisation import he_fan_out

STAGE_CHANNELS = (16, 32, 64)
"""Channels of a stage at width 1."""

STEM_CHANNELS = 16


class Block(nn.Module):
    """Pre-activation basic block: BN, act, 3x3 conv, BN, act, [dropout], 3x3 conv, [drop-path], plus the shortcut.

    Where the channels change, the activated input feeds both branches; where only the stride does (equal channels, as
    mixed widths such as 2-1 can give), the 1x1 shortcut reads the raw input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        dropout: float,
        drop_path: float | None,
        activation: Activation | None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.activation1, self.activation2 = make_activation(activation), make_activation(activation)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = nn.Identity() if drop_path is None else DropPath(drop_path)
        self.channels_change = in_channels != out_channels
        project = self.channels_change or stride != 1
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if project else None

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation1(self.norm1(x))
        y = self.conv1(activated)
        y = self.drop_path(self.conv2(self.dropout(self.activation2(self.norm2(y)))))
        if self.shortcut is None:
            return x + y
        return self.shortcut(activated if self.channels_change else x) + y


class WideResNet(nn.Module):
    """A stem, three stages of blocks, and a linear head on the average-pooled features.

    Stage i has `depths[i]` blocks of 16, 32, 64 times `widths[i]` channels; the first block of stages 2 and 3 halves the
    map. A stage of depth 0 is left out together with its stride (RobustWRN's d5-5-0), and the head then reads the last
    stage that exists. WRN-34-10 is depths 5-5-5, widths 10-10-10: 4 fixed convolutions (stem and shortcuts) + 2 * 15.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        depths: blocks of each stage, at least one of them positive.
        widths: multipliers of 16, 32, 64; fractions are fine where they give whole channels.
        dropout: probability inside a block.
        activation: of `layers.activations`; None is relu.
        drop_path: probability, grown to linearly over the epochs, of leaving out an image's residual branch; None never does.

    Raises:
        ValueError: no block at all, or a width that gives a fraction of a channel.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        depths: Annotated[Sequence[Annotated[int, Ge(0)]], Len(3, 3)],
        widths: Annotated[Sequence[Annotated[float, Gt(0)]], Len(3, 3)],
        dropout: Annotated[float, Ge(0)] = 0.0,
        activation: Activation | None = None,
        drop_path: Probability | None = None,
    ) -> None:
        super().__init__()
        if not any(depths):
            raise ValueError("depths: expected at least one block in some stage, came 0-0-0")
        self.stem = nn.Conv2d(in_channels, STEM_CHANNELS, 3, 1, 1, bias=False)
        channels = STEM_CHANNELS
        stages = []
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            out_channels = _channels(stage, width)
            blocks = []
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Block(channels, out_channels, stride, dropout, drop_path, activation))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = make_activation(activation)
        self.head = nn.Linear(channels, classes)
        he_fan_out(self)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.classify(x)

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last stage's map."""
        x = self.activation(self.norm(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """The network's blocks in a row."""
        return Chain(self.stem, [block for stage in self.stages for block in stage.children()], self.classify)


def _channels(stage: int, width: float) -> int:
    channels = STAGE_CHANNELS[stage] * width
    if abs(channels - round(channels)) > 1e-9:
        raise ValueError(
            f"widths: expected multipliers that give whole channels, came {width:g} for stage {stage + 1}, "
            f"which gives {channels:g} channels; take a multiple of 1/{STAGE_CHANNELS[stage]}"
        )
    return round(channels)
