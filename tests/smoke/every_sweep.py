"""`make smoke-all`: the first job of every sweep of a paper at scale=smoke, each as a run of its own, and the sweep's report.

`python -m tests.smoke.every_sweep robnet/fig7 nadar/fig3 outputs=/tmp/smoke` runs these alone, there. Says of each how long it
took, and at the end which failed; nothing stops the others.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.run import write
from advarch.errors import InputError
from advarch.launch.local import command
from tests.tables.page import PAPERS, SWEEPS

SOURCE = ["dataset=digits", "backbone.depths=[1,1,1]", "backbone.widths=[0.25,0.25,0.25]", "stages=[train]"]
"""The network that stands for every other run that a transfer takes its images from."""

SMOKE = ["scale=smoke", "outputs=outputs/smoke"]

FEW = ["evaluation.limit=20", "evaluation.checkpoints=[best]", "analysis.limit=20"]
"""Images of a sweep's evaluation; its report is told the same, lest it waits for the others."""


def first(name: str, where: Sequence[str]) -> PlannedJob:
    """The first job of a sweep, evaluated on few images."""
    return planned_jobs([f"+sweep={name}", *where, *FEW], check=True, most=1)[0]


def run(job: PlannedJob) -> int:
    """Its exit code."""
    write(job)
    return subprocess.run(command(job.folder.path)).returncode


def with_source(config: dict[str, Any], where: Sequence[str]) -> None:
    """Set the config's sources, where it has any, to one small network, trained unless it is there."""
    if isinstance(config["evaluation"].get("sources"), Mapping):
        [source] = planned_jobs([*SOURCE, *where], check=True)
        run(source)
        config["evaluation"]["sources"] = dict.fromkeys(
            config["evaluation"]["sources"], str(source.folder.path)
        )


def trained(name: str, where: Sequence[str]) -> int:
    """The exit code of a sweep's first job."""
    job = first(name, where)
    with_source(job.config, where)
    return run(job)


def reported(name: str, where: Sequence[str]) -> int:
    """The exit code of a sweep's report."""
    line = [sys.executable, "-m", "advarch.cli.main", "report", f"+sweep={name}", *where, *FEW]
    return subprocess.run(line, stdout=subprocess.DEVNULL).returncode


def tried(stage: Callable[[str, Sequence[str]], int], name: str, where: Sequence[str]) -> str:
    """What to say of it: `ok` or `failed (2)`, and the seconds."""
    began = time.monotonic()
    try:
        code = stage(name, where)
    except InputError as error:
        print(error, file=sys.stderr)
        code = 2
    return f"{f'failed ({code})' if code else 'ok'}, {time.monotonic() - began:.0f} s"


def main(arguments: Sequence[str]) -> int:
    """Run them one after the other."""
    where = [*SMOKE, *(argument for argument in arguments if "=" in argument)]
    every = [f"{paper}/{path.stem}" for paper in PAPERS for path in sorted((SWEEPS / paper).glob("*.yaml"))]
    names, failed = [argument for argument in arguments if "=" not in argument] or every, []
    for name in names:
        said = [tried(stage, name, where) for stage in (trained, reported)]
        print(f"{name}: job {said[0]}; report {said[1]}", flush=True)
        failed += [name] if any("failed" in each for each in said) else []
    print(
        f"{len(names) - len(failed)} of {len(names)} sweeps run at scale=smoke; failed: {', '.join(failed) or 'none'}"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
