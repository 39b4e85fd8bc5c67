"""Networks worth attacking: trained for a minute, and the test images they are attacked on."""

import copy
from collections.abc import Callable
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


def tensors(part: Part, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], and their labels."""
    assert isinstance(part.x, np.ndarray)
    return (torch.from_numpy(part.x).float() / 255).to(device), torch.from_numpy(part.y).to(device)


@lru_cache
def tested(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """The test images of a dataset."""
    return tensors(DATA[name]().test, device)


def attacked(bench: Bench, name: str) -> nn.Module:
    """The network that is attacked on a dataset, in the layout of ours; trained when it is first asked for."""
    sizes = bench.sizes
    return _trained(name, sizes.trained, sizes.epochs[name], bench.device)


@lru_cache
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
