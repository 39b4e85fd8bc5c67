"""Feature denoising by non-local means (Xie et al. 2019)."""

import torch
from torch import Tensor, nn

EMBEDDING_STD = 0.01


class Denoising(nn.Module):
    """z = x + BN(W y), y_i = sum_j softmax_j(theta_i . phi_j / sqrt(C / 2)) x_j over all places i, j of the map.

    theta and phi are 1x1 convolutions to half the channels, W one that keeps them, none with a bias (Xie et al. 2019, Eqs. 2
    and 3, Figs. 4 and 5; where they stand in a network: section 6). The normalisation's scale starts at 0, so that a new
    block is the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = max(channels // 2, 1)
        self.theta = nn.Conv2d(channels, half, 1, bias=False)
        self.phi = nn.Conv2d(channels, half, 1, bias=False)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.initialise()

    def initialise(self) -> None:
        """Embeddings from N(0, 0.01^2), the normalisation's scale 0; to be called after a network drew its convolutions."""
        nn.init.normal_(self.theta.weight, std=EMBEDDING_STD)
        nn.init.normal_(self.phi.weight, std=EMBEDDING_STD)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        theta, phi, places = self.theta(x).flatten(2), self.phi(x).flatten(2), x.flatten(2)
        affinity = torch.softmax(theta.mT @ phi / theta.shape[1] ** 0.5, dim=2)
        # Autocast gives the product in its own type, which the map need not have.
        means = (places.to(affinity.dtype) @ affinity.mT).to(x.dtype)
        return x + self.norm(self.mix(means.view_as(x)))
