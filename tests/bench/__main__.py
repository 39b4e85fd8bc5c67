"""Speed as ratios measured in one run: `make bench`. Nothing here asserts a time; these are measurements."""

import json
import platform
import subprocess
import sys
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
from tests.bench.timing import alternate

EPS, STEP, STEPS, BATCH = 8 / 255, 2 / 255, 10, 64


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
    taken = alternate(steps)
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
        },
        3,
    )
    return {f"{name}, s": value for name, value in taken.items()}


def measurements() -> Iterator[tuple[str, dict[str, float]]]:
    """Each group of figures by its name."""
    yield "start-up", start_up()
    yield "data path", data_path()
    yield "PGD-10 training step", training_step()
    yield "training, each defense with its own attack", defenses.measure()
    yield from evaluation.measure()


def main() -> None:
    """Measure, print, and leave outputs/bench.json."""
    found: dict[str, dict[str, float]] = {}
    for name, figures in measurements():
        found[name] = figures
        print(name)
        for what, value in figures.items():
            print(f"  {what:<28} {value:,.2f}", flush=True)
    for name, verdict in targets(found).items():
        print(f"{name}: {verdict}")
    machine = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "platform": platform.platform(),
    }
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/bench.json").write_text(json.dumps({"machine": machine, "found": found}, indent=2) + "\n")


def targets(found: dict[str, dict[str, float]]) -> dict[str, str]:
    """What was asked for, and whether it is reached."""
    help_seconds = found["start-up"]["advarch --help, s"]
    said = {"help in under 1.5 s": _compare(1.5 / help_seconds, 1.0, f"{help_seconds:.2f} s")}
    for name, figures in found.items():
        if name.startswith("PGD-20"):
            said[f"{name}, 2 times torchattacks"] = _compare(figures["ratio"], 2.0, f"{figures['ratio']:.2f}")
        if name.startswith("AutoAttack"):
            best = max(figures["ratio"], figures["ratio, compiled"])
            same = min(figures["same verdict"], figures["same verdict, compiled"])
            told = (
                f"{figures['ratio']:.2f}, compiled {figures['ratio, compiled']:.2f}; "
                f"same verdict on {same:.0f} of {figures['images']:.0f}"
            )
            said[f"{name}, 2.5 times pyautoattack"] = _compare(best, 2.5, told)
    return said


def _compare(value: float, wanted: float, told: str) -> str:
    return f"{'ahead' if value >= wanted else 'behind'} ({told})"


if __name__ == "__main__":
    main()
