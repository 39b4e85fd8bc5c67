"""Networks worth attacking: trained for a minute, and the test images they are attacked on."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.bench.bench import Bench, build, channels_last
from advarch.datasets.embedded import digits, mnist_m
from advarch.datasets.images import ImageData, Part
from advarch.threat import Threat

DATA: dict[str, Callable[[], ImageData]] = {"digits": digits, "mnist_m": mnist_m}
TRAIN_EPS = {"digits": 16 / 255, "mnist_m": 8 / 255}
BATCH = 64

HALF, SEEN, HALVINGS = 0.5, 32, 8
"""Share that stands at the radius that is looked for; on how many images, and in how many steps."""


def tensors(part: Part, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], and their labels."""
    assert isinstance(part.x, np.ndarray)
    return (torch.from_numpy(part.x).float() / 255).to(device), torch.from_numpy(part.y).to(device)


@dataclass(frozen=True)
class Subject:
    """What is attacked: a network in the layout of ours, and test images that it has right.

    half_radius: at which about half of them stand against PGD-10, so that an attack's strength shows.
    """

    network: nn.Module
    x: Tensor
    y: Tensor
    half_radius: float

    def images(self, count: int) -> tuple[Tensor, Tensor]:
        """The first of them."""
        return self.x[:count], self.y[:count]


def subject(bench: Bench, name: str) -> Subject:
    """The network of a dataset, trained when it is first asked for."""
    sizes = bench.sizes
    return _subject(name, sizes.trained, sizes.epochs[name], bench.device)


@lru_cache
def _subject(name: str, network: str, epochs: int, device: torch.device) -> Subject:
    net = _trained(name, network, epochs, device)
    x, y = tensors(DATA[name]().test, device)
    chosen = right(net, x, y)
    x, y = x[chosen], y[chosen]
    return Subject(net, x, y, half_radius(net, x[:SEEN], y[:SEEN]))


def half_radius(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """The largest radius at which more than half of the images stand against PGD-10, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        eps = (low + high) / 2
        x_adv = pgd(net, x, y, threat=Threat("inf", eps), steps=10, step_size=eps / 4)
        low, high = (eps, high) if right(net, x_adv, y).float().mean() > HALF else (low, eps)
    return low


def _trained(name: str, network: str, epochs: int, device: torch.device) -> nn.Module:
    """After single-step adversarial training."""
    x, y = tensors(DATA[name]().train, device)
    net = channels_last(build(network, device, x.shape[1]))
    batches = epochs * (len(x) // BATCH)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, batches)
    eps = TRAIN_EPS[name]
    for _ in range(batches):
        chosen = torch.randint(len(x), (BATCH,), device=device)
        net.eval()
        x_adv = pgd(net, x[chosen], y[chosen], threat=Threat("inf", eps), steps=1, step_size=1.25 * eps)
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(x_adv), y[chosen]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def plain_layout(net: nn.Module) -> nn.Module:
    """The network as a user of the peers has it."""
    laid: nn.Module = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    return laid


@torch.no_grad()
def right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images keep their label."""
    kept: Tensor = net(x).argmax(1) == y
    return kept
