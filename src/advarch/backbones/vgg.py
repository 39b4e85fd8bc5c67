"""VGG networks with batch normalisation, for small images (Simonyan & Zisserman 2015; widths as RobustWRN varies them)."""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.initialisation import he_fan_out


class VGG(nn.Module):
    """Stages of 3x3 convolutions (with bias), each followed by BN and activation; a 2x2 max-pool ends a stage; a linear head.

    Pools round up, so that images smaller than 32 pixels keep one; from 32 on, where sides are multiples of 32, nothing
    changes by it. Where the last map is larger than 1x1 (larger images), its mean over places goes to the head.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        channels: for each stage the channels of its convolutions; VGG-11 is [[64], [128], [256, 256], [512, 512], [512, 512]].
        activation: a name of `layers.activations`.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        channels: Annotated[Sequence[Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)]], MinLen(1)],
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for stage in channels:
            for out in stage:
                layers += [nn.Conv2d(width, out, 3, 1, 1), nn.BatchNorm2d(out), make_activation(activation)]
                width = out
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last stage's map."""
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """All its layers; a pool begins a block, and the last one is alone in its own."""
        return Chain(nn.Identity(), list(self.features), self.classify)
