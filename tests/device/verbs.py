"""What is done to runs that are there, or by what is no run: on the CPU and on the simulated device."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from advarch.cli.attack import attack
from advarch.lit.module import TrainModule
from tests.device import jobs
from tests.device.settings import LEARNED, TRAIN

OWN = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
"""

QUICK = ["threat.eps=0.05", "evaluation.limit=20", "evaluation.batch_size=8", "dataset=digits"]


def resumed(root: Path) -> Any:
    """Told to stop in the middle of the second epoch, and started again."""
    step, seen = TrainModule.training_step, [0]

    def told(module: TrainModule, *batch: Any) -> Any:
        seen[0] += 1
        if seen[0] == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(module, *batch)

    overrides = [*TRAIN, "trainer.max_epochs=2", "averaging=ema"]
    TrainModule.training_step = told  # type: ignore[method-assign]
    try:
        _, code = jobs.started(overrides, root)
    finally:
        TrainModule.training_step = step  # type: ignore[method-assign]
    return {"code": code, "run": jobs.seen(jobs.run(overrides, root))}


def distilled(root: Path) -> Any:
    """By the weights of one run, as both teachers."""
    teacher = jobs.run(TRAIN, root / "teacher").path
    taught = [f"defense.teachers.{name}={teacher}" for name in ("standard", "robust")]
    return jobs.seen(jobs.run([*TRAIN, "defense=kd", *taught], root))


def attacked(root: Path) -> Any:
    """A network of the user's own."""
    typed([*own(root), "evaluation.checkpoints=[best]"])
    return records(root, "evaluation.json")


def planted(root: Path) -> Any:
    """Attacks tested with planted points, on that network."""
    typed([*own(root), "check=binarization"])
    return records(root, "binarization.json")


def transferred(root: Path) -> Any:
    """Between two runs."""
    one, two = (jobs.run([*LEARNED, f"seed={seed}"], root).path for seed in (0, 1))
    typed(
        [
            "evaluation=transfer",
            f"source=[{one},{two}]",
            f"outputs={root}",
            "evaluation.limit=20",
            "evaluation.attacks.pgd100.steps=9",
        ]
    )
    return records(root, "transfer_*.json")


def own(root: Path) -> list[str]:
    """The network, small images of its own, and where the record goes."""
    (root / "own.py").write_text(OWN)
    return [
        f"model={root}/own.py:network",
        f"outputs={root}",
        "evaluation=quick",
        "evaluation.fast=false",
        *QUICK,
    ]


def records(root: Path, pattern: str) -> list[Any]:
    """What was written, without times and folders."""
    paths = sorted(root.rglob(pattern))
    assert paths
    return [jobs.untimed(json.loads(path.read_text())) for path in paths]


def typed(arguments: Sequence[str]) -> None:
    """The verb, which has to end well."""
    with redirect_stdout(sys.stderr):
        assert attack(arguments) == 0


VERBS: Mapping[str, Callable[[Path], Any]] = {
    "a run that was told to stop": resumed,
    "distillation": distilled,
    "attack": attacked,
    "check=binarization": planted,
    "transfer": transferred,
}
