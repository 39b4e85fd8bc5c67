"""Tiny networks and images for the tests of attacks."""

import torch
from torch import Tensor, nn


def small_net(classes: int = 10, channels: int = 3, *, seed: int = 0, sharpness: float = 5.0) -> nn.Module:
    """A smooth little convolutional network whose logits are centred, so that several classes occur."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.Softplus(beta=5),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, classes),
        ).eval()
        probe = torch.rand(64, channels, 8, 8)
    head = net[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        logits = net(probe)
        head.bias -= logits.mean(0)
        scale = sharpness / (logits - logits.mean(0)).std()
        head.weight *= scale
        head.bias *= scale
    return net


def images(count: int, channels: int = 3, height: int = 8, width: int = 8, *, seed: int = 0) -> Tensor:
    """Random images, a few pixels of which lie on the faces of the box."""
    x = torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return (1.1 * x - 0.05).clamp(0.0, 1.0)


def predictions(net: nn.Module, x: Tensor) -> Tensor:
    """The labels the net gives."""
    with torch.no_grad():
        return net(x).argmax(1)


class Linear(nn.Module):
    """logits = W x + b, and the closed-form distance of each image to the boundary of its class."""

    def __init__(self, classes: int, shape: tuple[int, int, int] = (3, 4, 4), *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size = shape[0] * shape[1] * shape[2]
        self.weight = nn.Parameter(torch.randn(classes, size, generator=generator, dtype=torch.float64))
        # Every class has the same logit at the grey image, so that the boundaries pass between the images.
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias

    def distance(self, x: Tensor, y: Tensor, dual: int) -> Tensor:
        """min_k (z_y - z_k) / ||w_y - w_k||_dual: dual 1 for the l_inf distance, 2 for l_2."""
        with torch.no_grad():
            gap = self(x).gather(1, y[:, None]) - self(x)
            slope = (self.weight[y][:, None] - self.weight[None]).norm(p=dual, dim=2)
            ratio = gap / slope
            return ratio.scatter(1, y[:, None], torch.inf).amin(1)


def interior(count: int, shape: tuple[int, int, int] = (3, 4, 4), *, seed: int = 0) -> Tensor:
    """Images far from the faces of the box, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return 0.4 + 0.2 * torch.rand(count, *shape, generator=generator, dtype=torch.float64)
