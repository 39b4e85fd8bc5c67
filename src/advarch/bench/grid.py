"""A grid of small networks from start to end: one multirun, beside a script for each network one after another.

Both are given the whole machine, and both are new processes, as they are typed. Ours also validates each epoch, verifies every
verdict, draws and keeps records; that is in its time.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

from advarch.bench.bench import Bench, Case
from advarch.bench.equal import unlike_means
from advarch.bench.peers import absent
from advarch.bench.row import OURS, Row, compared
from advarch.bench.sizes import Grid

PEER = "a script for each"
DECAY = "2e-4"
SETTINGS = [
    "dataset=digits", "backbone=wide_resnet", "backbone.depths=[1,1,1]", "schedule=constant", "attack=pgd10",
    f"optimizer.weight_decay={DECAY}", "evaluation=defenses", "evaluation.checkpoints=[last]", "trainer.accelerator=cpu",
]  # fmt: skip
EPS, TEST_IMAGES = 0.2, 359
"""Of digits, as conf/dataset/digits.yaml has it."""


def cases(bench: Bench) -> Iterator[Case]:
    """One grid; on a GPU too it is the CPU's, for these networks are too small for one."""
    grid = bench.sizes.grid
    name = f"grid: {len(grid.widths) * len(grid.rates)} networks on digits, trained and evaluated by PGD-20 and AutoAttack"
    yield name, partial(_row, name, grid)


def _row(name: str, grid: Grid) -> Row:
    taken, means = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        means[OURS] = _mean(_multirun(grid, Path(folder)))
        taken[OURS] = time.perf_counter() - began
    gone = absent(["pyautoattack"])
    if not gone:
        began = time.perf_counter()
        means[PEER] = _mean([_script(grid, width, rate) for width, rate in product(grid.widths, grid.rates)])
        taken[PEER] = time.perf_counter() - began
    said = tuple(
        f"{who}: " + ", ".join(f"{what} {value:.1%}" for what, value in mean.items()) + " on average"
        for who, mean in means.items()
    )
    return compared(
        name,
        taken,
        len(grid.widths) * len(grid.rates) * 60,
        "networks/min",
        refused=unlike_means(means),
        notes=(*said, *gone.values()),
    )


def _multirun(grid: Grid, outputs: Path) -> list[dict[str, float]]:
    """The accuracies of each run."""
    widths = ",".join(f"[{width},{width},{width}]" for width in grid.widths)
    arguments = [
        "-m", *SETTINGS, f"backbone.widths={widths}", f"optimizer.lr={','.join(map(str, grid.rates))}",
        f"trainer.max_epochs={grid.epochs}", f"dataset.batch_size={grid.batch}",
        f"evaluation.shares.autoattack={grid.images / TEST_IMAGES}", f"outputs={outputs}",
    ]  # fmt: skip
    _run(["advarch.cli.main", *arguments])
    runs = [json.loads(path.read_text()) for path in outputs.glob("single/*/evaluation.json")]
    return [
        {
            result["name"]: result["correct"] / result["total"]
            for result in run["checkpoints"]["last"]["results"]
        }
        for run in runs
    ]


def _script(grid: Grid, width: float, rate: float) -> dict[str, float]:
    settings = {
        "width": width, "lr": rate, "epochs": grid.epochs, "batch": grid.batch, "eps": EPS, "images": grid.images,
    }  # fmt: skip
    found: dict[str, float] = json.loads(_run(["advarch.bench.glue", json.dumps(settings)]).splitlines()[-1])
    return found


def _run(arguments: Sequence[str]) -> str:
    ended = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {ended.returncode}: {ended.stderr.strip()[-200:]}")
    return ended.stdout


def _mean(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    names = ("clean", "pgd20", "autoattack")
    return {name: sum(run[name] for run in runs) / len(runs) for name in names}
