"""A sound network trained on real digits, and sick ones made from it."""

import copy
from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn


@cache
def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits, images in [0, 1]."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y)


@cache
def sound_net() -> nn.Module:
    """A convolutional net after a second of plain training on the digits from the 400th on."""
    x, y = digits()
    x, y = x[400:], y[400:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 10),
        )
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(60):
            chosen = torch.randint(len(x), (128,))
            optimizer.zero_grad()
            F.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
    net.zero_grad(set_to_none=True)
    return net.eval()


class Sick(nn.Module):
    """The sound net with something before or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = copy.deepcopy(sound_net())


class Quantised(Sick):
    """Rounds its input to 8 levels: the gradient is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x * 7).round() / 7)


class Stochastic(Sick):
    """Adds noise to its input, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.05 * torch.randn(x.shape, generator=self.generator))


class Saturated(Sick):
    """Multiplies its logits by 100, or by `times`."""

    def __init__(self, times: float = 100.0) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return self.times * self.net(x)


class Probabilities(Sick):
    """Returns the softmax of its logits."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)


class Detached(Sick):
    """Forgets where its input came from."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.detach())


class Optimising(Sick):
    """Moves the image by its own gradient before it answers."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            moved = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.net(moved).logsumexp(1).sum(), moved)
        return self.net(x + 0.001 * slope.sign())


class OwnBatch(Sick):
    """Compares each image with the others of its batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - 0.5 * x.mean(0, keepdim=True) + 0.2 * len(x) / 100)


class StuckInTraining(Sick):
    """Has a dropout layer that does not listen to eval()."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.2)

    def train(self, mode: bool = True) -> "StuckInTraining":
        super().train(mode)
        self.dropout.training = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.dropout(x))
