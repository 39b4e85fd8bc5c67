"""Run one small experiment again and again, each time killed by SIGKILL at another point, then resumed.

A process of its own, because it forks: what is imported once serves every run. Prints what it saw as JSON.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

OVERRIDES = [
    "dataset=digits",
    "dataset.limit=300",
    "dataset.batch_size=64",
    "backbone.depths=[1,1,0]",
    "backbone.widths=[0.25,0.25,1]",
    "attack=pgd7",
    "attack.steps=1",
    "trainer.max_epochs=3",
    "trainer.threads=1",
    "validation.attack.steps=2",
    "evaluation.batch_size=100",
    "evaluation.attacks.pgd20.steps=3",
]


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
    from advarch.evaluation import evaluate as evaluation
    from advarch.lit.module import TrainModule
    from advarch.runs import weights
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
        "between the two weight files": lambda: kill_at_call(weights, "save", 1, after=True),
        "between train and evaluate": replace_of("train.json", 1, after=True),
        "in the attack of an evaluation": lambda: kill_at_call(evaluation, "verify", 2),
        "in a write of outcomes": lambda: kill_at_call(stage, "_write", 3, after=True),
        "before the evaluation gets its name": replace_of("evaluation.json", 1),
    }


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
        "best": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "last": hashlib.sha256((folder / "model_last.safetensors").read_bytes()).hexdigest(),
        "epochs": [row.split(",")[0] for row in rows[1:]],
        "losses": [row.split(",")[2] for row in rows[1:]],
        "outcomes": outcomes,
        "left over": sorted(path.name for path in folder.rglob(".*") if path.name != ".lock.guard"),
    }


def main() -> None:
    from advarch.cli import job
    from advarch.cli.compose import planned_jobs
    from advarch.cli.run import write

    root = Path(sys.argv[1])
    os.environ["KILL_LOG"] = str(root / "log.txt")
    (planned,) = planned_jobs([*OVERRIDES, f"outputs={root}"], check=True)
    folder = planned.folder.path

    def go() -> int:
        return job.main([str(folder)])

    write(planned)
    result: dict[str, Any] = {"plain": {"codes": [in_child(go)], "observed": observed(folder)}}
    for name, arm in points().items():
        shutil.rmtree(folder)
        write(planned)

        def armed(arm: Callable[[], None] = arm) -> int:
            arm()
            return go()

        codes = [in_child(armed), in_child(go)]
        result[name] = {"codes": codes, "observed": observed(folder)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
