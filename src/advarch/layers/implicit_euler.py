"""Residual blocks whose step is an implicit one, approached by gradient descent (IE-skips: Li, He & Lin 2020)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5
"""Added to a variance before its root, as torch does."""


class NormedBranch(nn.Module):
    """f(x): for each convolution in turn norm, ReLU, convolution. The norm is over all of an image's features, without parameters."""

    def __init__(self, convolutions: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = convolution(self.activated(x))
        return x

    def activated(self, x: Tensor) -> Tensor:
        """What the first convolution reads."""
        return F.relu(F.group_norm(x, 1, eps=EPS))

    def misfit_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of ||y - x - f(y)||^2 with respect to y: 2 (r - J^T r), r = y - x - f(y), J the Jacobian of f at y.

        J^T is written out, since a network that differentiates inside its own forward pass can't be compiled. It holds for
        convolutions of stride 1 that keep the map.
        """
        inputs, features = [], y
        for convolution in self.convolutions:
            inputs.append(features)
            features = convolution(self.activated(features))
        residual = y - x - features
        pulled = residual
        for convolution, read in zip(reversed(self.convolutions), reversed(inputs), strict=True):
            assert isinstance(convolution, nn.Conv2d)
            pulled = F.conv_transpose2d(pulled, convolution.weight, padding=_padding(convolution))
            normed = F.group_norm(read, 1, eps=EPS)
            pulled = _through_norm(pulled * (normed > 0), read, normed)
        return 2 * (residual - pulled)


def _padding(convolution: nn.Conv2d) -> tuple[int, int]:
    height, width = convolution.kernel_size
    return height // 2, width // 2


def _through_norm(gradient: Tensor, read: Tensor, normed: Tensor) -> Tensor:
    """J^T g of n = (x - mean) / deviation over one image: (g - mean(g) - n mean(g n)) / deviation."""
    own = (1, 2, 3)
    deviation = torch.sqrt(read.var(own, correction=0, keepdim=True) + EPS)
    along = (gradient * normed).mean(own, keepdim=True)
    return (gradient - gradient.mean(own, keepdim=True) - normed * along) / deviation


class ImplicitEulerBlock(nn.Module):
    """y = x + f(x), then `steps` times y <- y - step_size * grad_y ||y - x - f(y)||^2: towards y = x + f(y).

    The steps are differentiated like the rest of the network, so that an attack sees the gradient of what is computed.

    Args:
        branch: f, from the channels of x to the same.
        steps: gradient steps; 0 leaves an ordinary residual block.
        step_size: their length.
    """

    def __init__(self, branch: NormedBranch, *, steps: int, step_size: float) -> None:
        super().__init__()
        self.branch, self.steps, self.step_size = branch, steps, step_size

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.branch(x)
        for _ in range(self.steps):
            y = y - self.step_size * self.branch.misfit_gradient(x, y)
        return y


class ExplicitBlock(nn.Module):
    """s + f(x), s a 1x1 convolution of the activated input: where channels or map change, no implicit step is defined."""

    def __init__(self, branch: NormedBranch, shortcut: nn.Conv2d) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(self.branch.activated(x)) + self.branch(x)
