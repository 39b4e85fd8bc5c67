"""The other blocks of DS-Net (Du et al. 2021): inverted bottleneck and dense; of its second space: ResNeXt and DLA.

Every block keeps channels and map and ends with a norm, as in the released code.
"""

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from advarch.layers.activations import Activation, make_activation
from advarch.layers.residual_branches import Branch


class MBConvBlock(nn.Module):
    """Inverted bottleneck with squeeze and excitation (Tan et al. 2019): norm(x + g(x)), Swish inside, twice as wide inside.

    Args:
        channels: C; the squeeze has floor(C / 4), at least 1.
        drop: probability of leaving out g for an image in training; 0.2 in DS-Net's code.
    """

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        wide, squeezed = 2 * channels, max(1, channels // 4)
        self.expand = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.SiLU(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.SiLU(),
        )
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(wide, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, wide, 1),
            nn.Sigmoid(),
        )
        self.project = nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.drop = StochasticDepth(drop, "row")
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.expand(x)
        return self.norm(x + self.drop(self.project(wide * self.excite(wide))))


class DenseBlock(nn.Module):
    """Two dense layers of growth C (Huang et al. 2017), then the mean of input and both outputs: norm((x + f1 + f2) / 3)."""

    def __init__(self, channels: int, act: Activation) -> None:
        super().__init__()
        self.first, self.second = (self._layer(inputs * channels, channels, act) for inputs in (1, 2))
        self.norm = nn.BatchNorm2d(channels)

    @staticmethod
    def _layer(in_channels: int, growth: int, act: Activation) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm2d(in_channels),
            make_activation(act),
            nn.Conv2d(in_channels, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            make_activation(act),
            nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(torch.cat([x, first], dim=1))
        return self.norm((x + first + second) / 3)


class ResNextBlock(nn.Module):
    """norm(x + g(x)), g a 1x1, a grouped 3x3 and a 1x1 convolution (Xie et al. 2017), in four groups or as many as divide C."""

    def __init__(self, channels: int, act: Activation) -> None:
        super().__init__()
        groups = next(count for count in (4, 2, 1) if channels % count == 0)
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            make_activation(act),
            nn.Conv2d(channels, channels, 3, 1, 1, groups=groups, bias=False),
            nn.BatchNorm2d(channels),
            make_activation(act),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.branch(x))


class DlaBlock(nn.Module):
    """A tree of two levels of residual branches whose nodes a 1x1 convolution aggregates (Yu et al. 2018)."""

    def __init__(self, channels: int, act: Activation) -> None:
        super().__init__()
        self.branches = nn.ModuleList(Branch(channels, channels, 1, act) for _ in range(4))
        self.inner = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.root = nn.Conv2d(3 * channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        one = x + self.branches[0](x)
        two = one + self.branches[1](one)
        inner = self.inner(torch.cat([one, two], dim=1))
        three = inner + self.branches[2](inner)
        four = three + self.branches[3](three)
        return self.norm(self.root(torch.cat([inner, three, four], dim=1)))
