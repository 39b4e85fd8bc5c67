"""`make smoke-all`: the first job of every sweep of a paper at scale=smoke, each as a run of its own, and the sweep's report.

`python -m tests.smoke.every_sweep robnet/fig7 nadar/fig3 outputs=/tmp/smoke` runs these alone, there. One that fails stops no other;
stopped and started again, it runs no finished job twice. Exit codes: 0 all passed, 1 some failed, 2 bad input, 130 Ctrl-C.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from advarch import errors
from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.explain import missing_sweep
from advarch.cli.run import write
from advarch.errors import Interrupted, RunFailed
from advarch.launch import local
from advarch.launch.signals import StopRequest, exit_code
from tests.tables.page import PAPERS, SWEEPS

SOURCE = ["dataset=digits", "backbone.depths=[1,1,1]", "backbone.widths=[0.25,0.25,0.25]", "stages=[train]"]
"""The network that stands for every other run that a transfer takes its images from."""

SMOKE = ["scale=smoke", "outputs=outputs/smoke"]

FEW = ["evaluation.limit=20", "evaluation.checkpoints=[best]", "analysis.limit=20"]
"""Images of a sweep's evaluation; its report is told the same, lest it waits for the others."""


def first(name: str, where: Sequence[str]) -> PlannedJob:
    """The first job of a sweep, evaluated on few images."""
    return planned_jobs([f"+sweep={name}", *where, *FEW], check=True, most=1)[0]


def run(job: PlannedJob) -> None:
    """Run it, unless it is done. Raises RunFailed."""
    write(job)
    if job.folder.state(job.config)[0] != "done":
        local.run([job.folder.path], workers=1, show=lambda crew: None)
    state, error = job.folder.state(job.config)
    if state != "done":
        raise RunFailed(f"{error or state}; see {job.folder.path}/job.log")


@cache
def sources(name: str, where: tuple[str, ...]) -> tuple[str, ...]:
    """For a transfer the override that names one small network, trained unless it is there, in place of every other run."""
    [job] = planned_jobs([f"+sweep={name}", *where], most=1)
    names = job.config["evaluation"].get("sources")
    if not isinstance(names, Mapping):
        return ()
    [source] = planned_jobs([*SOURCE, *where], check=True)
    run(source)
    named = ", ".join(f"{name}: '{source.folder.path}'" for name in names)
    return (f"evaluation.sources={{{named}}}",)


def trained(name: str, where: tuple[str, ...]) -> None:
    """A sweep's first job, from search to analysis."""
    run(first(name, [*where, *sources(name, where)]))


def reported(name: str, where: tuple[str, ...]) -> None:
    """A sweep's report. Raises RunFailed with its last words."""
    overrides = [f"+sweep={name}", *where, *sources(name, where), *FEW]
    line = [sys.executable, "-m", "advarch.cli.main", "report", *overrides]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RunFailed(next(iter(done.stderr.splitlines()[-1:]), f"exit code {done.returncode}"))


def tried(
    stage: Callable[[str, tuple[str, ...]], None], name: str, where: tuple[str, ...]
) -> tuple[bool, str]:
    """Whether it passed, and what to say of it: `ok, 21 s`."""
    began = time.monotonic()
    said = "ok"
    try:
        stage(name, where)
    except Exception as error:
        # Whatever it is: the others are to be tried too.
        said = f"FAILED ({errors.said(error, 400)})"
    return said == "ok", f"{said}, {time.monotonic() - began:.0f} s"


def every(names: Sequence[str], where: tuple[str, ...]) -> list[str]:
    """Run them one after the other, a line each; those that failed."""
    failed, began = list[str](), time.monotonic()
    for done, name in enumerate(names):
        print(f"{done + 1} of {len(names)}  {name}: job ", end="", flush=True)
        trains, said = tried(trained, name, where)
        print(f"{said}; report ", end="", flush=True)
        reports, said = tried(reported, name, where)
        failed += [] if trains and reports else [name]
        left = (time.monotonic() - began) / (done + 1) * (len(names) - done - 1) / 60
        print(f"{said}; {len(failed)} failed so far, about {left:.0f} min to go", flush=True)
    return failed


def main(arguments: Sequence[str]) -> int:
    """The command."""
    known = [f"{paper}/{path.stem}" for paper in PAPERS for path in sorted((SWEEPS / paper).glob("*.yaml"))]
    names = [argument for argument in arguments if "=" not in argument] or known
    if unknown := next((name for name in names if name not in known), None):
        print(missing_sweep(unknown, known), file=sys.stderr)
        return 2
    try:
        with StopRequest().listening():
            failed = every(names, (*SMOKE, *(argument for argument in arguments if "=" in argument)))
    except Interrupted as told:
        print("\nstopped; the same command goes on from here and runs no finished job again", flush=True)
        return exit_code(told.number)
    print(f"{len(names) - len(failed)} of {len(names)} sweeps passed at scale=smoke")
    print(f"failed: {' '.join(failed)}" if failed else "none failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
