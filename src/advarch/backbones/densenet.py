"""Densely connected networks with bottlenecks (Huang et al. 2017), each block's input width free as RobustWRN varies it."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.initialisation import he_fan_out
from advarch.layers.stem import make_stem

BOTTLENECK = 4
"""Channels of a layer's 1x1 convolution over its growth (Huang et al. 2017, section 3)."""


class Layer(nn.Module):
    """BN, act, 1x1 conv to 4 growth, BN, act, 3x3 conv to growth; its output is joined to its input."""

    def __init__(self, in_channels: int, growth: int, activation: Activation) -> None:
        super().__init__()
        inner = BOTTLENECK * growth
        self.branch = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            make_activation(activation),
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            make_activation(activation),
            nn.Conv2d(inner, growth, 3, 1, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.branch(x)], 1)


class DenseNet(nn.Module):
    """A stem, dense blocks with transitions between them, BN, activation, average pool and a linear head.

    A transition is BN, activation, a 1x1 convolution to the next block's `channels`, and a 2x2 average pool.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        depths: layers of each block.
        channels: what each block is given; the stem puts out the first.
        growth: channels that a layer adds.
        stem: for CIFAR a bare 3x3 convolution; for ImageNet 7x7 of stride 2, BN, activation and a max-pool.
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
        growth: Annotated[int, Ge(1)] = 32,
        stem: Literal["cifar", "imagenet"] = "cifar",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if len(depths) != len(channels):
            raise ValueError(
                f"channels: expected one number per block, {len(depths)} as in depths, came {len(channels)}"
            )
        width = channels[0]
        self.stem: nn.Module = (
            nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
            if stem == "cifar"
            else make_stem(stem, in_channels, width, activation)
        )
        layers: list[nn.Module] = []
        for block, (depth, given) in enumerate(zip(depths, channels, strict=True)):
            if block > 0:
                layers += [
                    nn.BatchNorm2d(width),
                    make_activation(activation),
                    nn.Conv2d(width, given, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                width = given
            for _ in range(depth):
                layers.append(Layer(width, growth, activation))
                width += growth
        layers += [nn.BatchNorm2d(width), make_activation(activation)]
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.blocks(self.stem(x)))

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last block's map."""
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """All its layers; a transition's pool begins the next block."""
        return Chain(self.stem, list(self.blocks), self.classify)
