"""Pre-activation residual blocks and their Runge-Kutta relatives: residual, down-sampling, Ada-RK, SSP2."""

import torch
from torch import Tensor, nn

from advarch.layers.activations import Activation, make_activation


class Branch(nn.Module):
    """f(x): norm, activation, 3x3 convolution, twice; the convolutions have biases (DS-Net's and Ada-RK's code)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, act: Activation) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.activation1, self.activation2 = make_activation(act), make_activation(act)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1)

    def activated(self, x: Tensor) -> Tensor:
        """What the first convolution reads."""
        return self.activation1(self.norm1(x))

    def convolved(self, activated: Tensor) -> Tensor:
        """The branch from there on."""
        return self.conv2(self.activation2(self.norm2(self.conv1(activated))))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolved(self.activated(x))


def end(channels: int, normed: bool) -> nn.Module:
    """What a block ends with: DS-Net's code has a norm there that its paper does not mention."""
    return nn.BatchNorm2d(channels) if normed else nn.Identity()


class ResidualBlock(nn.Module):
    """y = norm(x + f(x)), an Euler step."""

    def __init__(self, channels: int, act: Activation, *, normed: bool = True) -> None:
        super().__init__()
        self.branch = Branch(channels, channels, 1, act)
        self.norm = end(channels, normed)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.branch(x))


class DownBlock(nn.Module):
    """Half the map, other channels: norm(s + f(x)), s a normed 1x1 convolution of stride 2 on the activated input."""

    def __init__(self, in_channels: int, out_channels: int, act: Activation, *, normed: bool = True) -> None:
        super().__init__()
        self.branch = Branch(in_channels, out_channels, 2, act)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, 2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(out_channels)
        self.norm = end(out_channels, normed)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.branch.activated(x)
        shortcut = self.shortcut_norm(self.shortcut(activated))
        return self.norm(shortcut + self.branch.convolved(activated))


class ArkBlock(nn.Module):
    """A strong-stability-preserving Runge-Kutta step of two stages with learnable coefficients (Kim et al. 2020; DS-Net).

    With s = sigmoid, a = s(a21), b = s(b10), b21 = 1 / (2b), b20 = 1 - b21 - a b, and x1 = x + b f(x):
    y = norm((1 - a) x + b20 f(x) + a x1 + b21 f(x1)). Both a21 and b10 are parameters, as in the released codes, though a cancels:
    y = norm(x + (1 - b21) f(x) + b21 f(x1)), so that a21 counts as a parameter and its gradient is nothing but rounding.
    f(x) is computed once; those codes compute it twice, which moves the norms' running averages one step further.
    """

    def __init__(self, channels: int, act: Activation, *, normed: bool = True) -> None:
        super().__init__()
        self.branch = Branch(channels, channels, 1, act)
        self.a21 = nn.Parameter(torch.tensor(0.25))
        self.b10 = nn.Parameter(torch.tensor(1.0))
        self.norm = end(channels, normed)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.sigmoid(self.a21), torch.sigmoid(self.b10)
        b21 = 1 / (2 * b)
        b20 = 1 - b21 - a * b
        slope = self.branch(x)
        inner = x + b * slope
        return self.norm((1 - a) * x + b20 * slope + a * inner + b21 * self.branch(inner))


class Ssp2Block(nn.Module):
    """y = norm(x / 2 + B(B(x)) / 2), B(x) = x + f(x): the optimal two-stage scheme of second order (Kim et al. 2020)."""

    def __init__(self, channels: int, act: Activation, *, normed: bool = True) -> None:
        super().__init__()
        self.branch = Branch(channels, channels, 1, act)
        self.norm = end(channels, normed)

    def forward(self, x: Tensor) -> Tensor:
        once = x + self.branch(x)
        return self.norm(torch.lerp(x, once + self.branch(once), 0.5))


class Ssp3Block(nn.Module):
    """x1 = B(x), x2 = 3/4 x + 1/4 B(x1), y = norm(1/3 x + 2/3 B(x2)): three stages, third order (Shu & Osher 1988)."""

    def __init__(self, channels: int, act: Activation, *, normed: bool = True) -> None:
        super().__init__()
        self.branch = Branch(channels, channels, 1, act)
        self.norm = end(channels, normed)

    def forward(self, x: Tensor) -> Tensor:
        first = x + self.branch(x)
        second = torch.lerp(x, first + self.branch(first), 1 / 4)
        return self.norm(torch.lerp(x, second + self.branch(second), 2 / 3))
