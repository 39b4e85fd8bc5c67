"""Speed of the evaluation beside the published packages: PGD-20 beside torchattacks, AutoAttack beside pyautoattack.

Ours is timed as a run does it: clean pass, attack, and the verification of every verdict at two batch sizes. Theirs is the
attack and one look at the labels it leaves.
"""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
import torchattacks
from pyautoattack import AutoAttack
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.attacks.sequence import sequence
from advarch.backbones.wide_resnet import WideResNet
from advarch.datasets.embedded import digits, mnist_m
from advarch.datasets.images import ImageData, Part
from advarch.evaluation.compiled import compiled
from advarch.evaluation.evaluate import Run, evaluate
from advarch.evaluation.outcomes import RIGHT, Outcome
from advarch.evaluation.suite import parts
from advarch.threat import Threat
from advarch.types import Attack, Batch
from tests.attacks.test_sequence import standard
from tests.bench.timing import alternate, seconds

TRAIN_EPS = {"digits": 16 / 255, "mnist_m": 8 / 255}
EPOCHS = {"digits": 12, "mnist_m": 5}
PGD_IMAGES, PGD_EPS = 120, 34 / 255
AUTOATTACK = {
    "digits, many stand": ("digits", 30, 0.12),
    "digits, few stand": ("digits", 60, 0.20),
    "mnist_m, many stand": ("mnist_m", 6, 8 / 255),
    "mnist_m, few stand": ("mnist_m", 24, 44 / 255),
}
"""Network -> data, images that it classifies right, radius."""


def tensors(part: Part, count: int | None = None) -> tuple[Tensor, Tensor]:
    """The first images in [0, 1], and their labels."""
    assert isinstance(part.x, np.ndarray)
    return torch.from_numpy(part.x[:count]).float() / 255, torch.from_numpy(part.y[:count])


def trained(data: ImageData) -> nn.Module:
    """A small WRN after a minute of single-step adversarial training."""
    x, y = tensors(data.train)
    torch.manual_seed(0)
    net = WideResNet(classes=10, in_channels=x.shape[1], depths=[1, 1, 1], widths=[1, 1, 1])
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = EPOCHS[data.name] * (len(x) // 64)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, batches)
    eps = TRAIN_EPS[data.name]
    for _ in range(batches):
        chosen = torch.randint(len(x), (64,))
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
    return copy.deepcopy(net).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@torch.no_grad()
def right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images keep their label."""
    return net(x).argmax(1) == y


def ours(
    net: nn.Module, x: Tensor, y: Tensor, attack: Attack, eps: float, *, compile: bool = False
) -> Tensor:
    """Which images stand, as an evaluation finds them."""
    threat, batch = Threat("inf", eps), [Batch(x, y, torch.arange(len(x)))]
    clean = Outcome.unknown(np.arange(len(x)))
    found = Outcome.unknown(np.arange(len(x)), tuple(parts(attack)))
    evaluate(net, batch, Run("clean", None, threat, 0), clean)
    run = Run("bench", attack, threat, 0, compile=compile)
    evaluate(net, batch, run, found, standing=clean.correct == RIGHT)
    return torch.from_numpy(found.correct == RIGHT)


def pgd_20(net: nn.Module, data: ImageData) -> dict[str, float]:
    """PGD-20 of the suite `quick` beside torchattacks."""
    x, y = tensors(data.test, PGD_IMAGES)
    peer_net = plain_layout(net)
    peer = torchattacks.PGD(peer_net, eps=PGD_EPS, alpha=PGD_EPS / 10, steps=20)
    attack = partial(
        pgd, threat=Threat("inf", PGD_EPS), steps=20, step_size=PGD_EPS / 10, stop_on_success=True
    )
    stand: dict[str, int] = {}

    def keep(name: str, found: Tensor) -> None:
        stand[name] = int(found.sum())

    taken = alternate(
        {
            "torchattacks": lambda: keep("torchattacks", right(peer_net, peer(x, y), y)),
            "advarch": lambda: keep("advarch", ours(net, x, y, attack, PGD_EPS)),
        },
        3,
    )
    return {
        "images": len(x),
        "stand, torchattacks": stand["torchattacks"],
        "stand, advarch": stand["advarch"],
        "torchattacks, s": taken["torchattacks"],
        "advarch, s": taken["advarch"],
        "ratio": taken["torchattacks"] / taken["advarch"],
    }


def autoattack(net: nn.Module, data: ImageData, count: int, eps: float) -> dict[str, float]:
    """AutoAttack standard beside pyautoattack, each once after the compiler has done its work: they take long enough."""
    x, y = tensors(data.test)
    chosen = right(net, x, y).nonzero().squeeze(1)[:count]
    x, y = x[chosen], y[chosen]
    peer_net = plain_layout(net)
    attack = partial(sequence, attacks=standard(Threat("inf", eps)))
    short = partial(sequence, attacks=standard(Threat("inf", eps), steps=2, queries=4))
    found: dict[str, Tensor] = {}

    def theirs() -> Tensor:
        reference = AutoAttack(peer_net, norm="Linf", eps=eps, version="standard", seed=0, device="cpu")
        reference.verbose = False
        x_adv, _ = reference.run_standard_evaluation(x, y, batch_size=250)
        return right(peer_net, x_adv, y)

    actions: dict[str, Callable[[], Tensor]] = {
        "advarch": lambda: ours(net, x, y, attack, eps),
        "pyautoattack": theirs,
        "advarch compiled": lambda: ours(net, x, y, attack, eps, compile=True),
    }
    compiling = seconds(lambda: ours(net, x, y, short, eps, compile=True))
    with silence():
        taken = {
            name: seconds(lambda name=name, run=run: found.update({name: run()}))  # type: ignore[misc]
            for name, run in actions.items()
        }
    same = {name: float((found[name] == found["pyautoattack"]).sum()) for name in found}
    return {
        "images": count,
        "stand": float(found["pyautoattack"].sum()),
        "pyautoattack, s": taken["pyautoattack"],
        "advarch, s": taken["advarch"],
        "advarch compiled, s": taken["advarch compiled"],
        "compiling, s": compiling,
        "ratio": taken["pyautoattack"] / taken["advarch"],
        "ratio, compiled": taken["pyautoattack"] / taken["advarch compiled"],
        "compiled beside ours": taken["advarch"] / taken["advarch compiled"],
        "same verdict": same["advarch"],
        "same verdict, compiled": same["advarch compiled"],
    }


@contextmanager
def silence() -> Iterator[None]:
    """No lines of the peer's logger."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def measure() -> Iterator[tuple[str, dict[str, float]]]:
    """Each comparison by its name, in a few minutes."""
    data = {"digits": digits(), "mnist_m": mnist_m()}
    nets = {name: trained(part) for name, part in data.items()}
    yield "PGD-20 evaluation, mnist_m", pgd_20(nets["mnist_m"], data["mnist_m"])
    for name, (source, count, eps) in AUTOATTACK.items():
        yield f"AutoAttack, {name}", autoattack(nets[source], data[source], count, eps)
    compiled.cache_clear()
