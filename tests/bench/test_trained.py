"""The radius that shows how strong an attack is."""

import pytest
import torch
from torch import nn

from advarch.bench.trained import half_radius


def test_half_of_the_images_stand_at_the_radius_that_is_found() -> None:
    class Threshold(nn.Module):
        """Class 1 where the one pixel is above 1/2: an image of pixel p falls at radius p - 1/2."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            margin = x.flatten(1).mean(1) - 0.5
            return torch.stack([-margin, margin], dim=1)

    x = torch.tensor([0.6, 0.7, 0.8, 0.9]).view(4, 1, 1, 1)
    # Where the second one falls two of four stand, which is not more than half.
    assert half_radius(Threshold(), x, torch.ones(4, dtype=torch.long)) == pytest.approx(0.2, abs=0.005)
