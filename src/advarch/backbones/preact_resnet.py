"""Residual networks with normalisation and activation before each convolution (He et al. 2016b)."""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.initialisation import he_fan_out


class Block(nn.Module):
    """BN, act, 3x3 conv, BN, act, 3x3 conv, plus the shortcut: x, or a 1x1 convolution of the activated input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.act1 = make_activation(activation)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.act2 = make_activation(activation)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        project = in_channels != out_channels or stride != 1
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if project else None

    def forward(self, x: Tensor) -> Tensor:
        activated = self.act1(self.norm1(x))
        y = self.conv2(self.act2(self.norm2(self.conv1(activated))))
        return y + (x if self.shortcut is None else self.shortcut(activated))


class PreActResNet(nn.Module):
    """A 3x3 convolution, stages of blocks, BN, activation, average pool and a linear head; FastAT's network (Wong et al. 2020).

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        depths: blocks of each stage; the first block of every stage but the first halves the map.
        channels: channels of each stage; the stem has the first stage's.
        activation: a name of `layers.activations`.

    Raises:
        ValueError: lists of different lengths.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        depths: Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)],
        channels: Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)],
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if len(depths) != len(channels):
            raise ValueError(
                f"channels: expected one number per stage, {len(depths)} as in depths, came {len(channels)}"
            )
        width = channels[0]
        self.stem = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        stages = []
        for stage, (depth, out) in enumerate(zip(depths, channels, strict=True)):
            blocks = []
            for index in range(depth):
                blocks.append(Block(width, out, 2 if stage > 0 and index == 0 else 1, activation))
                width = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(width)
        self.activation = make_activation(activation)
        self.head = nn.Linear(width, classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.stages(self.stem(x)))

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last stage's map."""
        x = self.activation(self.norm(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """The network's blocks in a row."""
        return Chain(self.stem, [block for stage in self.stages for block in stage.children()], self.classify)
