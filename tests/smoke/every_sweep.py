"""`make smoke-all`: the first job of every sweep of a paper at scale=smoke, each as a run of its own; says at the end which failed."""

import subprocess
import sys

from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.run import write
from advarch.errors import InputError
from advarch.launch.local import command
from tests.tables.page import PAPERS, SWEEPS

TRANSFERS = ("nadar/table5", "racl/table4", "racl/table5", "racl/table6", "robnet/table2", "robnet/table8")
"""Sweeps whose evaluation needs other runs: here without their sources."""


def first(name: str) -> PlannedJob:
    """The first job of a sweep, evaluated on few images."""
    few = [
        "scale=smoke",
        "outputs=outputs/smoke",
        "evaluation.limit=20",
        "evaluation.checkpoints=[best]",
        "analysis.limit=20",
    ]
    return planned_jobs([f"+sweep={name}", *few], check=True, most=1)[0]


def main() -> int:
    """Run them one after the other."""
    failed = []
    names = [f"{paper}/{path.stem}" for paper in PAPERS for path in sorted((SWEEPS / paper).glob("*.yaml"))]
    for name in names:
        try:
            job = first(name)
            if name in TRANSFERS:
                job.config["evaluation"]["sources"] = None
            write(job)
            code = subprocess.run(command(job.folder.path)).returncode
        except InputError as error:
            print(error, file=sys.stderr)
            code = 2
        print(f"{name}: {'done' if code == 0 else f'failed ({code})'}", flush=True)
        failed += [name] if code else []
    print(
        f"{len(names) - len(failed)} of {len(names)} sweeps run at scale=smoke; failed: {', '.join(failed) or 'none'}"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
