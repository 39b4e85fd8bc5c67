"""Run one small experiment again and again, each time killed or told to stop at another moment, then resumed.

A process of its own, because it forks: what is imported once serves every run. Prints what it saw as JSON.
"""

import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.job import main as main_of_job
from advarch.cli.run import write
from advarch.files import write_atomic

OVERRIDES = [
    "dataset=digits",
    "dataset.limit=300",
    "dataset.batch_size=64",
    "backbone.depths=[1,1,0]",
    "backbone.widths=[0.25,0.25,1]",
    "attack=pgd7",
    "attack.steps=1",
    "trainer.max_epochs=2",
    "trainer.threads=1",
    "validation.attack.steps=2",
    "evaluation.batch_size=100",
    "evaluation.attacks.pgd20.steps=3",
    "evaluation.probe=false",
]


AVERAGED = {
    "ema": ["averaging=ema", "averaging.decay=0.9"],
    "swa": ["averaging=swa", "averaging.start=1"],
}
"""Trainings that have a second network, which has to come back too."""


def kill_now() -> None:
    """What a power cut or an out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_call(owner: Any, name: str, number: int, *, after: bool = False) -> None:
    """Die at the n-th call of owner.name, before it or after it."""
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == number and not after:
            kill_now()
        result = original(*args, **kwargs)
        if calls[0] == number and after:
            kill_now()
        return result

    setattr(owner, name, counted)


def half_a_checkpoint() -> None:
    """Die when half of the second last.ckpt is on the disk."""
    import pytorch_lightning as pl

    original = pl.Trainer.save_checkpoint
    seen = [0]

    def save(self: pl.Trainer, filepath: Any, *args: Any, **kwargs: Any) -> None:
        original(self, filepath, *args, **kwargs)
        seen[0] += "last" in Path(filepath).name
        if seen[0] == 2:
            data = Path(filepath).read_bytes()
            Path(filepath).write_bytes(data[: len(data) // 2])
            kill_now()

    pl.Trainer.save_checkpoint = save  # type: ignore[method-assign]


def replace_of(part: str, number: int, *, after: bool = False) -> Callable[[], None]:
    """Die at the n-th renaming to a path that contains `part`."""

    def arm() -> None:
        original, seen = os.replace, [0]

        def replace(source: Any, target: Any) -> None:
            hit = part in str(target) and ".tmp" not in str(target)
            seen[0] += hit
            if hit and seen[0] == number and not after:
                kill_now()
            original(source, target)
            if hit and seen[0] == number and after:
                kill_now()

        os.replace = replace  # type: ignore[assignment]

    return arm


def points() -> dict[str, Callable[[], None]]:
    """Name of the moment -> what arms it."""
    from advarch.evaluation import judged
    from advarch.lit.module import TrainModule
    from advarch.runs import weights as files
    from advarch.stages import evaluate as stage

    return {
        "in the first step": lambda: kill_at_call(TrainModule, "training_step", 1),
        "in the middle of the second epoch": lambda: kill_at_call(
            TrainModule, "training_step", 6, after=True
        ),
        "in a validation": lambda: kill_at_call(TrainModule, "_judge", 2),
        "half way through a checkpoint": half_a_checkpoint,
        "before a checkpoint gets its name": replace_of("last.ckpt", 2),
        "between best and last": replace_of("best.ckpt", 1, after=True),
        "before a row of metrics.csv": replace_of("metrics.csv", 2),
        "in a status write": replace_of("status.json", 2),
        "between the two weight files": lambda: kill_at_call(files, "save", 1, after=True),
        "between train and evaluate": replace_of("train.json", 1, after=True),
        "in the attack of an evaluation": lambda: kill_at_call(judged, "verify", 2),
        "in a write of outcomes": lambda: kill_at_call(stage, "write_outcomes", 3, after=True),
        "before the evaluation gets its name": replace_of("evaluation.json", 1),
    }


KINDS = {
    "batch": ["forward", "step", "training_step"],
    "training": ["step", "training_step"],
    "file": ["replace", "link", "save_checkpoint"],
    "judging": ["_judge", "verify"],
}
"""Calls at which a random moment may lie: in the middle of a batch, around a file, in a validation or an attack."""

RANDOM = {"batch": 7, "file": 6, "judging": 4}
SIGNALLED = {"training": 4, "file": 1, "judging": 3}
"""How many moments of each kind end in SIGKILL; and how many, alternately, in SIGTERM and SIGUSR1."""


def watch(told: Callable[[str], None]) -> None:
    """Be told of every such call, before it happens."""
    import pytorch_lightning as pl
    import torch

    from advarch.evaluation import judged
    from advarch.lit.module import TrainModule

    places = [
        (os, "replace"),
        (os, "link"),
        (pl.Trainer, "save_checkpoint"),
        (TrainModule, "_judge"),
    ]
    places += [(TrainModule, "training_step"), (torch.optim.SGD, "step"), (torch.nn.Conv2d, "forward")]
    for owner, name in [*places, (judged, "verify")]:
        setattr(owner, name, announced(getattr(owner, name), name, told))


def announced(original: Callable[..., Any], name: str, told: Callable[[str], None]) -> Callable[..., Any]:
    """The same function, which says its name before it is run."""

    def counted(*args: Any, **kwargs: Any) -> Any:
        # How often these two are written depends on the time; the others' numbers must not.
        if name != "replace" or not any(each in str(args) for each in ("status.json", "outcomes")):
            told(name)
        return original(*args, **kwargs)

    return counted


def trace_to(path: Path) -> None:
    """Note every such call of a run that nobody stops."""
    file = path.open("w")
    watch(lambda name: print(name, file=file, flush=True))


def end_at(number: int, sign: int) -> Callable[[], None]:
    """Send this process a signal at the n-th such call."""

    def arm() -> None:
        seen = [0]

        def told(name: str) -> None:
            del name
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), sign)

        watch(told)

    return arm


def random_moments(trace: list[str]) -> dict[str, Callable[[], None]]:
    """Moments spread at random over a run, the same ones every time: name -> what arms it."""
    chance, found = random.Random(4), {}
    for wanted, signs in (
        (RANDOM, [signal.SIGKILL]),
        (SIGNALLED, [signal.SIGTERM, signal.SIGUSR1]),
    ):
        for kind, count in wanted.items():
            numbers = [n for n, name in enumerate(trace, 1) if name in KINDS[kind]]
            for turn, number in enumerate(sorted(chance.sample(numbers, count))):
                sign = signs[turn % len(signs)]
                found[f"{sign.name} at call {number} ({trace[number - 1]})"] = end_at(number, sign)
    return found


def in_child(action: Callable[[], int]) -> int:
    """The wait status of a forked child that runs the action."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            with (Path(os.environ["KILL_LOG"])).open("a") as log, contextlib.redirect_stdout(log):
                code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def weights(folder: Path) -> dict[str, str]:
    """Digests of the best and the last epoch's weights."""
    files = {"best": "model.safetensors", "last": "model_last.safetensors"}
    return {name: hashlib.sha256((folder / file).read_bytes()).hexdigest() for name, file in files.items()}


def observed(folder: Path) -> dict[str, Any]:
    """What must not depend on kills: weights to the byte, epochs of metrics.csv, outcome of every image."""
    import numpy as np

    with np.load(folder / "outcomes.npz") as arrays:
        outcomes = {
            name: hashlib.sha256(arrays[name].tobytes()).hexdigest()
            for name in arrays.files
            if not name.endswith("cost")
        }
    rows = (folder / "metrics.csv").read_text().splitlines()
    return {
        "weights": weights(folder),
        "epochs": [row.split(",")[0] for row in rows[1:]],
        "losses": [row.split(",")[2] for row in rows[1:]],
        "outcomes": outcomes,
        "left over": sorted(path.name for path in folder.rglob(".*") if path.name != ".lock.guard"),
    }


def once(job: PlannedJob, arm: Callable[[], None] = lambda: None) -> int:
    """How a fresh child that is armed and runs the job ended."""

    def run() -> int:
        arm()
        return main_of_job([str(job.folder.path)])

    return in_child(run)


def moments(root: Path) -> dict[str, Any]:
    """What the run left that nobody stopped, and those ended at each moment and resumed."""
    (job,) = planned_jobs([*OVERRIDES, f"outputs={root}"], check=True)
    folder = job.folder.path
    write(job)
    code = once(job, lambda: trace_to(root / "trace.txt"))
    found: dict[str, Any] = {"plain": {"codes": [code], "observed": observed(folder)}}
    trace = (root / "trace.txt").read_text().split()
    for name, arm in (points() | random_moments(trace)).items():
        shutil.rmtree(folder)
        write(job)
        codes = [once(job, arm)]
        states = {stage: status.state for stage, status in job.folder.status().stages.items()}
        codes.append(once(job))
        found[name] = {"codes": codes, "states": states, "observed": observed(folder)}
    return found


def averages(root: Path) -> dict[str, Any]:
    """Of each kind of averaging: the run that nobody stopped, and the one killed between two epochs and resumed."""
    found = {}
    for rule, options in AVERAGED.items():
        asked = [*OVERRIDES, *options, "trainer.max_epochs=4", "stages=[train]", f"outputs={root / rule}"]
        (job,) = planned_jobs(asked, check=True)
        write(job)
        whole = {"codes": [once(job)], "weights": weights(job.folder.path)}
        shutil.rmtree(job.folder.path)
        write(job)
        codes = [once(job, replace_of("metrics.csv", 2, after=True)), once(job)]
        found[rule] = {"whole": whole, "killed": {"codes": codes, "weights": weights(job.folder.path)}}
    return found


def picture_nothing() -> None:
    """Files that hold no picture, in its place and at its time: drawing is a third of a run and changes nothing else."""
    from advarch.evaluation import gallery
    from advarch.reports import run_curves

    run_curves.draw = lambda rows, best_epoch, path: write_atomic(path, b"")
    gallery.draw = lambda path, *_: write_atomic(path, b"")


def main() -> None:
    # What every run imports is imported once, here.
    for module in ("sklearn.datasets", "advarch.stages.train", "advarch.stages.evaluate"):
        importlib.import_module(module)
    picture_nothing()
    root = Path(sys.argv[1])
    os.environ["KILL_LOG"] = str(root / "log.txt")
    print(json.dumps({"moments": moments(root), "averages": averages(root)}))


if __name__ == "__main__":
    main()
