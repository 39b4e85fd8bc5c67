"""The auxiliary head of cell networks (Liu et al. 2019, after Zoph et al. 2018)."""

import torch.nn.functional as F
from torch import Tensor, nn

from advarch.layers.activations import Activation, make_activation

HIDDEN = (128, 768)


class AuxiliaryHead(nn.Module):
    """Activation, pooling to 2x2, 1x1 convolution to 128, 2x2 convolution to 768, linear layer; a norm after each convolution.

    The four windows lie in the corners of the map, five eighths of its side rounded up: 5 of 8 pixels as on CIFAR in DARTS'
    code, 5 of 7 as on ImageNet.
    """

    def __init__(self, in_channels: int, classes: int, act: Activation) -> None:
        super().__init__()
        narrow, wide = HIDDEN
        self.activation = make_activation(act)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, narrow, 1, bias=False),
            nn.BatchNorm2d(narrow),
            make_activation(act),
            nn.Conv2d(narrow, wide, 2, bias=False),
            nn.BatchNorm2d(wide),
            make_activation(act),
        )
        self.head = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        sides = x.shape[-2:]
        if min(sides) < 2:
            raise ValueError(
                f"auxiliary head: expected a map of at least 2x2 after the second reduction, came {sides[0]}x{sides[1]}; "
                "take larger images or leave the auxiliary head out"
            )
        windows = [min(-(-5 * side // 8), side - 1) for side in sides]
        pooled = F.avg_pool2d(
            self.activation(x), windows, [side - window for side, window in zip(sides, windows, strict=True)]
        )
        return self.head(self.features(pooled).flatten(1))
