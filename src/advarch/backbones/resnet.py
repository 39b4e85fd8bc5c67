"""Residual networks of basic or bottleneck blocks, plain, grouped and with feature denoising (He et al. 2016; Xie et al. 2017)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.branch_convolutions import BlockKind, branch_convolutions
from advarch.layers.denoising import Denoising
from advarch.layers.initialisation import he_fan_out
from advarch.layers.stem import Stem, make_stem

Shortcut = Literal["conv", "pad"]


class Padding(nn.Module):
    """Shortcut without parameters: every stride-th pixel, zeros for the channels that are new (He et al. 2016, option A)."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class Residual(nn.Module):
    """act(branch(x) + shortcut(x)); the branch's convolutions are each followed by BN, all but the last by the activation."""

    def __init__(
        self, convolutions: Sequence[nn.Conv2d], shortcut: nn.Module, activation: Activation
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for convolution in convolutions:
            if layers:
                layers.append(make_activation(activation))
            layers += [convolution, nn.BatchNorm2d(convolution.out_channels)]
        self.branch = nn.Sequential(*layers)
        self.shortcut = shortcut
        self.activation = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.branch(x) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, stages of residual blocks, and a linear head on the average-pooled features.

    Stage i has `depths[i]` blocks whose 3x3 convolutions have `channels[i]` channels; the first block of every stage but the
    first halves the map (a bottleneck in its 3x3 convolution, as is usual since Goyal et al. 2017).

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        depths: blocks of each stage.
        channels: channels of each stage's 3x3 convolutions.
        block: two 3x3 convolutions, or 1x1, 3x3, 1x1.
        expansion: a block's output channels over those of its 3x3 convolution; 1 for basic blocks.
        groups: of a bottleneck's 3x3 convolution (ResNeXt's cardinality).
        stem: see `layers.stem`.
        stem_channels: what the stem puts out.
        shortcut: where channels or stride change, a 1x1 convolution with BN, or `Padding`.
        activation: a name of `layers.activations`.
        denoise: a `Denoising` block after each stage (Xie et al. 2019).

    Raises:
        ValueError: lists of different lengths; basic blocks with expansion or groups.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        depths: Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)],
        channels: Annotated[Sequence[Annotated[int, Ge(1)]], MinLen(1)],
        block: BlockKind = "basic",
        expansion: Annotated[int, Ge(1)] = 1,
        groups: Annotated[int, Ge(1)] = 1,
        stem: Stem = "cifar",
        stem_channels: Annotated[int, Ge(1)] = 64,
        shortcut: Shortcut = "conv",
        activation: Activation = "relu",
        denoise: bool = False,
    ) -> None:
        super().__init__()
        _check(depths, channels, block, expansion, groups)
        self.stem = make_stem(stem, in_channels, stem_channels, activation)
        width = stem_channels
        stages: list[nn.Module] = []
        for stage, (depth, inner) in enumerate(zip(depths, channels, strict=True)):
            layers: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                made = branch_convolutions(
                    block, width, inner, inner * expansion, stride=stride, groups=groups
                )
                side = _shortcut(shortcut, width, inner * expansion, stride)
                layers.append(Residual(made, side, activation))
                width = inner * expansion
            stages.append(nn.Sequential(*layers, *([Denoising(width)] if denoise else [])))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width, classes)
        he_fan_out(self)
        for module in self.modules():
            if isinstance(module, Denoising):
                module.initialise()

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.stages(self.stem(x)))

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last stage's map."""
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """The network's blocks in a row, the denoising ones among them."""
        return Chain(self.stem, [block for stage in self.stages for block in stage.children()], self.classify)


def _check(depths: Sequence[int], channels: Sequence[int], block: str, expansion: int, groups: int) -> None:
    if len(depths) != len(channels):
        raise ValueError(
            f"channels: expected one number per stage, {len(depths)} as in depths, came {len(channels)}"
        )
    if block == "basic" and (expansion, groups) != (1, 1):
        raise ValueError(
            f"block: expected expansion 1 and groups 1 with basic blocks, came {expansion} and {groups}; take bottleneck"
        )
    for inner in channels:
        if inner % groups:
            raise ValueError(
                f"groups: expected a divisor of every stage's channels, came {groups} for {inner} channels"
            )


def _shortcut(kind: str, width: int, out: int, stride: int) -> nn.Module:
    if width == out and stride == 1:
        return nn.Identity()
    if kind == "pad" and out >= width:
        return Padding(out - width, stride)
    return nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))
