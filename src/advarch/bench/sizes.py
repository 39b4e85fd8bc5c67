"""How large everything is that the bench measures, as data: for a CPU, for a GPU, and the least that runs through."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import nn

from advarch.backbones.resnet import ResNet
from advarch.backbones.wide_resnet import WideResNet
from advarch.bench.machine import Precision


def _wide(depth: int, width: float) -> Callable[..., nn.Module]:
    """WRN-`depth`-`width`; its depth counts 6 layers to a block in each of three stages, and 4."""
    return partial(WideResNet, classes=10, depths=[(depth - 4) // 6] * 3, widths=[width] * 3)


NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "WRN-10-1": _wide(10, 1),
    "WRN-10-2": _wide(10, 2),
    "WRN-16-4": _wide(16, 4),
    "WRN-34-10": _wide(34, 10),
    "ResNet-18": partial(
        ResNet,
        classes=10,
        depths=[2, 2, 2, 2],
        channels=[64, 128, 256, 512],
        block="basic",
        stem="cifar",
        stem_channels=64,
        shortcut="conv",
        activation="relu",
        denoise=False,
    ),
}
"""What is trained and attacked, all with ten classes."""

Method = Literal["pgd_at", "trades", "free", "fast"]
Data = Literal["digits", "mnist_m"]


@dataclass(frozen=True)
class Training:
    """A training step on images of 3x32x32."""

    method: Method
    network: str
    batch: int
    steps: int = 10


@dataclass(frozen=True)
class Whole:
    """A whole AutoAttack: images that the network has right, and the radius; None: at which about half of them stand."""

    data: Data
    images: int
    eps: float | None


@dataclass(frozen=True)
class Search:
    """A supernet in the space of DARTS with PC-DARTS' partial channels, and the step on it."""

    cells: int
    channels: int
    side: int
    batch: int
    steps: int
    partial_channels: int = 4
    nodes: int = 4


@dataclass(frozen=True)
class Work:
    """What is varied against multiply-adds, each alone, from the middle of it."""

    batches: Sequence[int]
    widths: Sequence[int]
    depths: Sequence[int]
    steps: Sequence[int]
    base: tuple[int, int, int, int]
    """Batch, width, depth and steps of the middle."""


@dataclass(frozen=True)
class Grid:
    """Networks of every width at every learning rate; AutoAttack on so many images of each."""

    widths: Sequence[int]
    rates: Sequence[float]
    epochs: int
    batch: int
    images: int


@dataclass(frozen=True)
class Sizes:
    """All of it.

    rounds: of an alternation.
    product: side of the matrices whose product is the peak.
    step: what the data path and the memory are measured beside.
    trained, data, epochs: network that is attacked, on which test images, and epochs of its training by data.
    attacked, gradients: images and steps of the attacks' rows; evaluated: images of an evaluation.
    compiled: whether AutoAttack runs on the compiled network, too.
    defenses: which of the group; None: all.
    precision, compile: of our training step; peers have fp32.
    searching: precision in which attacks of our evaluation search; verdicts are fp32.
    """

    rounds: int
    product: int
    training: Sequence[Training]
    step: Training
    trained: str
    data: Data
    epochs: Mapping[str, int]
    attacked: int
    gradients: int
    evaluated: int
    whole: Mapping[str, Whole]
    compiled: bool
    search: Search
    work: Work
    grid: Grid
    defenses: Sequence[str] | None = None
    precision: Precision = "fp32"
    compile: bool = False
    searching: Precision = "fp32"


CPU = Sizes(
    rounds=3,
    product=2048,
    training=[
        Training("pgd_at", "WRN-16-4", 16),
        Training("pgd_at", "WRN-10-2", 32),
        Training("trades", "WRN-10-2", 32),
        Training("free", "WRN-10-2", 32),
        Training("fast", "WRN-10-2", 32),
    ],
    step=Training("pgd_at", "WRN-10-2", 32),
    trained="WRN-10-1",
    data="mnist_m",
    epochs={"digits": 12, "mnist_m": 5},
    attacked=64,
    gradients=20,
    evaluated=500,
    whole={
        "digits, many stand": Whole("digits", 20, 0.12),
        "digits, few stand": Whole("digits", 40, 0.20),
        "mnist_m, many stand": Whole("mnist_m", 4, 8 / 255),
        "mnist_m, few stand": Whole("mnist_m", 16, 44 / 255),
    },
    compiled=True,
    search=Search(cells=5, channels=16, side=16, batch=16, steps=7),
    work=Work(
        batches=[1, 4, 16, 64], widths=[1, 2, 4], depths=[1, 2, 4], steps=[1, 3, 10], base=(16, 1, 1, 3)
    ),
    grid=Grid(widths=[1, 2], rates=[0.05, 0.1], epochs=6, batch=64, images=36),
)

CUDA = replace(
    CPU,
    rounds=5,
    product=8192,
    training=[
        *(Training("pgd_at", "WRN-34-10", batch) for batch in (128, 256, 512)),
        *(Training("pgd_at", "ResNet-18", batch) for batch in (128, 512)),
        *(Training(method, "ResNet-18", 128) for method in ("trades", "free", "fast")),
    ],
    step=Training("pgd_at", "ResNet-18", 128),
    trained="WRN-34-10",
    epochs={"mnist_m": 3},
    attacked=512,
    evaluated=500,
    whole={"mnist_m, half stand": Whole("mnist_m", 100, None)},
    search=Search(cells=8, channels=16, side=32, batch=64, steps=7),
    work=Work(
        batches=[1, 8, 64, 512],
        widths=[1, 2, 4, 10],
        depths=[1, 2, 5],
        steps=[1, 3, 10],
        base=(128, 4, 1, 10),
    ),
    precision="bf16",
    compile=True,
    searching="bf16",
)

QUICK = {
    "rounds": 1,
    "product": 512,
    "training": [Training(method, "WRN-10-1", 8, 3) for method in ("pgd_at", "trades", "free", "fast")],
    "step": Training("pgd_at", "WRN-10-1", 8, 3),
    "trained": "WRN-10-1",
    "data": "digits",
    "epochs": {"digits": 6},
    "attacked": 16,
    "gradients": 5,
    "evaluated": 32,
    "whole": {"digits, few stand": Whole("digits", 6, 0.25)},
    "compiled": False,
    "search": Search(cells=3, channels=8, side=8, batch=4, steps=2),
    "work": Work(batches=[1, 4, 16], widths=[1, 2], depths=[1, 2], steps=[1, 3], base=(4, 1, 1, 1)),
    "grid": Grid(widths=[1], rates=[0.05, 0.1], epochs=1, batch=64, images=4),
    "defenses": ("pgd_at", "fast"),
    "compile": False,
}
"""What is smaller when there is no time: figures of it mean little."""


def sizes_for(device: torch.device, *, quick: bool, precision: Precision = "fp32") -> Sizes:
    """The sizes for a device; `precision` is the one in which ours trains on a CPU."""
    sizes = CUDA if device.type == "cuda" else replace(CPU, precision=precision)
    return replace(sizes, **QUICK) if quick else sizes  # type: ignore[arg-type]
