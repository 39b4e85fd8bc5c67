"""How fast each defense trains, in runs as the command makes them."""

import math
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from advarch.bench.bench import Bench, Case
from advarch.bench.row import Row
from advarch.runs.config import data_root

TEACHERS = {"standard": "natural", "robust": "pgd_at"}
"""Who teaches kd: runs of the bench itself."""

EPOCHS = 2
"""The first one warms up."""

SMALL = ["stages=[train]", "backbone.depths=[1,1,1]", "backbone.widths=[1,1,1]", "validation.attack.steps=1"]


def cases(bench: Bench) -> Iterator[Case]:
    """One row of all defenses."""
    name = "defenses: each with its own attack, WRN-10-1 on digits"
    yield name, partial(_row, bench, name)


def names(wanted: tuple[str, ...] | None) -> list[str]:
    """The group's defenses, or some of them; one that needs teachers last."""
    there = sorted(path.stem for path in (data_root("conf") / "defense").glob("[!_]*.yaml"))
    return sorted((name for name in there if wanted is None or name in wanted), key=lambda name: name == "kd")


def _row(bench: Bench, name: str) -> Row:
    wanted = bench.sizes.defenses
    found, folders = {}, dict[str, Path]()
    with tempfile.TemporaryDirectory() as root:
        for defense in names(None if wanted is None else tuple(wanted)):
            bench.say(f"training with {defense}")
            overrides = [f"defense={defense}", f"outputs={root}", f"trainer.max_epochs={EPOCHS}", *SMALL]
            overrides += ["trainer=gpu"] if bench.device.type == "cuda" else ["trainer.accelerator=cpu"]
            if defense == "kd":
                overrides += [f"defense.teachers.{place}={folders[who]}" for place, who in TEACHERS.items()]
            folders[defense], found[f"{defense}, images/s"] = bench.train(overrides)
    failed = tuple(f"{what.split(',')[0]} failed" for what, rate in found.items() if math.isnan(rate))
    return Row(name, {what: rate for what, rate in found.items() if not math.isnan(rate)}, notes=failed)
