"""Speed as ratios measured in one run: `make bench`. Nothing here asserts a time; these are measurements."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.backbones.wide_resnet import WideResNet
from advarch.datasets.embedded import mnist_m
from advarch.datasets.loaders import DeviceLoader
from advarch.defenses.pgd_at import pgd_at
from advarch.threat import Threat
from tests.bench import defenses, evaluation
from tests.bench.page import markdown, targets
from tests.bench.timing import alternate

BEGAN = time.perf_counter()
EPS, STEP, STEPS, BATCH = 8 / 255, 2 / 255, 10, 32


def naive_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """PGD adversarial training as four of the five papers' codes write it: `backward()` inside the attack, fp32."""
    model.eval()
    x_adv = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        F.cross_entropy(model(x_adv), y).backward()
        assert x_adv.grad is not None
        x_adv = torch.min(torch.max(x_adv + STEP * x_adv.grad.sign(), x - EPS), x + EPS).clamp(0, 1)
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(x_adv.detach()), y).backward()
    optimizer.step()


def our_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """The same step as a run takes it."""

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options: object) -> Tensor:
        return pgd(model, x, y, threat=Threat("inf", EPS), steps=STEPS, step_size=STEP, **options)  # type: ignore[arg-type]

    optimizer.zero_grad()
    pgd_at(model, x, y, attack=attack).total.backward()
    optimizer.step()


def training_step() -> dict[str, float]:
    """Training images per second of a small WRN on CIFAR-size images, and the ratio to the naive loop."""
    torch.manual_seed(0)
    x, y = torch.rand(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    steps: dict[str, Callable[[], object]] = {}
    for name, step, layout in (
        ("naive", naive_step, torch.contiguous_format),
        ("advarch", our_step, torch.channels_last),
    ):
        model = WideResNet(classes=10, in_channels=3, depths=[1, 1, 1], widths=[2, 2, 2])
        model.to(memory_format=layout)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        steps[name] = lambda step=step, model=model, optimizer=optimizer: step(model, optimizer, x, y)
    taken = alternate(steps, 3)
    return {
        "naive loop, images/s": BATCH / taken["naive"],
        "advarch, images/s": BATCH / taken["advarch"],
        "ratio": taken["naive"] / taken["advarch"],
    }


def data_path() -> dict[str, float]:
    """Augmented batches per second from mnist_m, as images per second."""
    data = mnist_m()
    loader = DeviceLoader(
        part=data.train,
        indices=torch.arange(len(data.train.y)).numpy(),
        batch_size=128,
        device="cpu",
        shuffle=True,
        drop_last=True,
        crop_pad=4,
        flip=True,
    )
    taken = alternate({"epoch": lambda: [batch.x for batch in loader]})
    return {"data path, images/s": len(loader) * 128 / taken["epoch"]}


def start_up() -> dict[str, float]:
    """Seconds until the command answers."""

    def command(*arguments: str) -> Callable[[], object]:
        line = [sys.executable, "-m", "advarch.cli.main", *arguments]
        return lambda: subprocess.run(line, capture_output=True, check=True)

    taken = alternate(
        {
            "advarch --help": command("--help"),
            "plan of 8 jobs": command("plan", "+sweep=demo", "sizes=false"),
            "plan of 125 jobs, with sizes": command("plan", "+sweep=robustwrn/fig1b"),
        },
        3,
    )
    return {f"{name}, s": value for name, value in taken.items()}


def measurements() -> dict[str, Callable[[], Iterator[tuple[str, dict[str, float]]]]]:
    """Part of the bench -> its groups of figures by their names."""
    return {
        "start-up": lambda: iter([("start-up", start_up())]),
        "data": lambda: iter([("data path", data_path())]),
        "step": lambda: iter([("PGD-10 training step", training_step())]),
        "defenses": lambda: iter([("training, each defense with its own attack", defenses.measure(say))]),
        "evaluation": evaluation.measure,
    }


def say(what: str) -> None:
    """Progress, on the terminal's line of errors."""
    print(f"{time.perf_counter() - BEGAN:5.0f} s  {what}", file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    """Where and with what it was measured."""
    names = ("torch", "torchattacks", "pyautoattack")
    return {
        "date": datetime.date.today().isoformat(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    } | {name: importlib.metadata.version(name) for name in names}


def main() -> None:
    """Measure, print, and leave outputs/bench.json and outputs/bench.md."""
    found: dict[str, dict[str, float]] = {}
    for part, groups in measurements().items():
        say(f"measuring {part}")
        for name, figures in groups():
            found[name] = figures
            say(f"measured {name}")
            print(name)
            for what, value in figures.items():
                print(f"  {what:<28} {value:,.2f}", flush=True)
    for name, verdict in targets(found).items():
        print(f"{name}: {verdict}")
    Path("outputs").mkdir(exist_ok=True)
    described = machine() | {"seconds": round(time.perf_counter() - BEGAN)}
    Path("outputs/bench.json").write_text(json.dumps({"machine": described, "found": found}, indent=2) + "\n")
    Path("outputs/bench.md").write_text(markdown(found, described))
    say("written: outputs/bench.json, outputs/bench.md")


if __name__ == "__main__":
    main()
