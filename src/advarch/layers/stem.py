"""First layers of a network: for small images they keep the map, for ImageNet's they quarter it."""

from typing import Literal

from torch import nn

from advarch.layers.activations import Activation, make_activation

Stem = Literal["cifar", "imagenet", "pointwise"]
"""cifar: 3x3 convolution. imagenet: 7x7 of stride 2, later a 3x3 max-pool of stride 2. pointwise: 1x1 convolution."""


def make_stem(kind: Stem, in_channels: int, channels: int, activation: Activation) -> nn.Sequential:
    """Convolution without bias, BN, activation and, for ImageNet, the pool."""
    size, stride = {"cifar": (3, 1), "imagenet": (7, 2), "pointwise": (1, 1)}[kind]
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, channels, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(channels),
        make_activation(activation),
    ]
    if kind == "imagenet":
        layers.append(nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*layers)
