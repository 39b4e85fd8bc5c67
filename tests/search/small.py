"""A small supernet, its batches and optimizers, for the tests of search methods."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.backbones.chain import Chain
from advarch.backbones.dilated_supernet import DilatedSupernet
from advarch.backbones.supernet import Supernet
from advarch.genotype.space import Space
from advarch.search.architecture import Softmax
from advarch.search.method import Batches, Progress
from advarch.threat import Threat
from advarch.types import Batch

SPACE = Space(("none", "skip_connect", "avg_pool_3x3", "dil_conv_3x3"), nodes=1)
SHARED = Space(SPACE.operations, nodes=2, layout="shared")
EDGES = partial(Softmax, edges=True, std=1.0)
ATTACK = partial(pgd, threat=Threat("inf", 0.1), steps=2, step_size=0.05)


def supernet(arch: Callable[[Space], nn.Module], seed: int = 0, **options) -> Supernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"space": SPACE, "cells": 3, "channels": 2} | options
        return Supernet(classes=2, in_channels=1, arch=arch, **options)


def batches(seed: int = 0, images: int = 6, dtype: torch.dtype = torch.float32) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, images, 1, 6, 6, generator=generator, dtype=dtype)
    y = torch.randint(2, (2, images), generator=generator)
    index = torch.arange(2 * images).view(2, images)
    return Batches(*(Batch(*parts) for parts in zip(x, y, index, strict=True)))


def optimizers(method, lr: float = 0.05, arch_lr: float = 0.05) -> dict[str, torch.optim.Optimizer]:
    groups = method.parameters()
    made = {"weights": torch.optim.SGD(groups["weights"], lr=lr, momentum=0.9, weight_decay=3e-4)}
    if "arch" in groups:
        made["arch"] = torch.optim.Adam(groups["arch"], lr=arch_lr, betas=(0.5, 0.999), weight_decay=1e-3)
    return made


def at(step: int, epochs: int = 4, steps_per_epoch: int = 2) -> Progress:
    return Progress(step, step / steps_per_epoch, epochs, seed=7)


class Backbone(nn.Module):
    """Two blocks of one layer each, the second on half the map."""

    def __init__(self, *, classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 3, 1, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, out, 3, stride, 1))
            for out, stride in ((4, 1), (8, 2))
        )
        self.head = nn.Linear(8, classes)

    def classify(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))

    def chain(self) -> Chain:
        return Chain(self.stem, list(self.layers), self.classify)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.layers[1](self.layers[0](self.stem(x))))


def dilated_supernet(arch: Callable[[Space], nn.Module] = EDGES, seed: int = 0, **options) -> DilatedSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"space": SHARED, "cells": 2, "partial_channels": 1} | options
        return DilatedSupernet(classes=2, in_channels=1, base=Backbone, arch=arch, **options)
