"""Whole runs on the CPU and on the simulated device, told to Lightning and to the stages as the one GPU of the machine."""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.strategies import SingleDeviceStrategy

from advarch.cli import job
from advarch.cli.compose import planned_jobs
from advarch.cli.run import write
from advarch.launch.signals import StopRequest
from advarch.runs.folder import RunFolder
from tests.device import simulated


class Simulated(Accelerator):
    """The device as Lightning knows devices."""

    def setup_device(self, device: torch.device) -> None:
        assert device == simulated.DEVICE

    def teardown(self) -> None:
        pass

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [simulated.DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "simulated"

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}


@contextmanager
def on_the_device() -> Iterator[None]:
    """The trainer and every stage compute there."""
    made = pl.Trainer

    def trainer(**settings: Any) -> pl.Trainer:
        accelerator = Simulated()
        strategy = SingleDeviceStrategy(simulated.DEVICE, accelerator=accelerator)
        # Which accelerator it is, the strategy knows.
        return made(**settings | {"accelerator": "auto", "strategy": strategy, "devices": 1})

    from advarch.lit import trainer as lit_trainer
    from advarch.stages import analyse, attack, candidates, evaluate, transfer

    rooms = (analyse, attack, candidates, evaluate, transfer)
    device_of = evaluate.device_of
    lit_trainer.pl.Trainer = trainer  # type: ignore
    for room in rooms:
        room.device_of = lambda config, number=0: simulated.DEVICE
    try:
        yield
    finally:
        lit_trainer.pl.Trainer = made
        for room in rooms:
            room.device_of = device_of


def run(overrides: Sequence[str], root: Path) -> RunFolder:
    """The run's folder, once it is done."""
    folder, code = started(overrides, root)
    assert code == 0, (folder.path / "status.json").read_text()
    return folder


def started(overrides: Sequence[str], root: Path) -> tuple[RunFolder, int]:
    """The run's folder, and the exit code of its job."""
    [planned] = planned_jobs([*overrides, f"outputs={root}"], check=True)
    write(planned)
    with redirect_stdout(sys.stderr), StopRequest().listening():
        return planned.folder, job.main([str(planned.folder.path)])


TIMED = ("seconds", "images_per_second", "eta", "device")


def seen(folder: RunFolder) -> dict[str, Any]:
    """What a run found, without how long it took."""
    found: dict[str, Any] = {}
    for path in sorted(folder.path.rglob("*.safetensors")):
        found[path.relative_to(folder.path).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    found["epochs"] = (
        [untimed(row) for row in folder.curves()] if (folder.path / "metrics.csv").exists() else []
    )
    for name in ("evaluation.json", "analysis.json", "genotype.json", "train.json"):
        if (folder.path / name).exists():
            found[name] = untimed(json.loads((folder.path / name).read_text()))
    return found


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: untimed(each) for key, each in value.items() if key not in TIMED}
    return [untimed(each) for each in value] if isinstance(value, list) else value
