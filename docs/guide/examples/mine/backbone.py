"""A network of plain convolutions."""

from itertools import pairwise
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn


class PlainNet(nn.Module):
    """3x3 convolutions of equal width, each with a ReLU; a linear classifier on the mean of the last map."""

    def __init__(
        self,
        classes: int,
        in_channels: int,
        *,
        width: Annotated[int, Ge(1)] = 16,
        depth: Annotated[int, Ge(1)] = 3,
    ) -> None:
        super().__init__()
        channels = [in_channels] + [width] * depth
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images in [0, 1] -> logits."""
        return self.classifier(self.features(x).mean((2, 3)))
