"""MobileNetV2 for small images (Sandler et al. 2018), in the form whose size RobNet prints."""

from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.initialisation import he_fan_out

# Expansion, output channels, blocks, stride at ImageNet's size (Sandler et al. 2018, Table 2).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """1x1 conv to `expansion` times the channels, 3x3 depthwise, 1x1 conv to the output; BN behind each, act behind two.

    At stride 1 the input is added, through a 1x1 convolution with BN where the channels change. Sandler et al. have no such
    projection and leave out the first convolution where the expansion is 1; RobNet's 2.30M parameters have both.
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, stride: int, activation: Activation
    ) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            make_activation(activation),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            make_activation(activation),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module | None = None
        if stride == 1 and in_channels == out_channels:
            self.shortcut = nn.Identity()
        elif stride == 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        return y if self.shortcut is None else y + self.shortcut(x)


class MobileNetV2(nn.Module):
    """A stem, seven stages of inverted residuals, a 1x1 convolution, average pool and a linear head.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        width: multiplier of every stage's channels.
        stem: "cifar" halves the map three times, from the third stage on; "imagenet" five times, as the paper does.
        activation: a name of `layers.activations`; the paper's own is ReLU6, RobNet's form has ReLU.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        width: Annotated[float, Gt(0)] = 1.0,
        stem: Literal["cifar", "imagenet"] = "cifar",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        small = stem == "cifar"
        channels = _scaled(FIRST, width)
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, channels, 3, 1 if small else 2, 1, bias=False),
            nn.BatchNorm2d(channels),
            make_activation(activation),
        ]
        for stage, (expansion, full, depth, stride) in enumerate(STAGES):
            out = _scaled(full, width)
            for block in range(depth):
                step = stride if block == 0 and not (small and stage < 2) else 1
                layers.append(InvertedResidual(channels, out, expansion, step, activation))
                channels = out
        last = max(LAST, _scaled(LAST, width))
        layers += [
            nn.Conv2d(channels, last, 1, bias=False),
            nn.BatchNorm2d(last),
            make_activation(activation),
        ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(last, classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last stage's map."""
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """The stem's three layers, and all others."""
        return Chain(self.features[:3], list(self.features[3:]), self.classify)


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)
