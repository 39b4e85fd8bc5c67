"""Run several folders beside each other: `python -m advarch.cli.crew FOLDER FOLDER`, a task of a Slurm array that packs small jobs.

Exit codes are those of a job: 79 when one was told to stop and goes on when it is started again, else 1 when one failed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from advarch.cli.display import CrewDisplay
from advarch.cli.ranks import processes_here
from advarch.errors import InputError, Interrupted
from advarch.launch import local
from advarch.launch.signals import INTERRUPTED, exit_code
from advarch.runs.folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all folders at once; when Slurm starts the task again, those that failed are left as they are."""
    parser = argparse.ArgumentParser("python -m advarch.cli.crew", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument(
        "--trust", action="append", default=[], help="package whose objects a config may name"
    )
    options = parser.parse_args(arguments)
    folders = [RunFolder(folder) for folder in options.folders]
    try:
        if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
            folders = [folder for folder in folders if folder.state(folder.config())[0] != "failed"]
        with CrewDisplay() as display:
            crew = local.run(
                [folder.path for folder in folders],
                workers=len(folders),
                show=display.show,
                trust=options.trust,
                processes=[processes_here(folder.config()) for folder in folders],
            )
    except InputError as error:
        print(f"advarch: error: {error}", file=sys.stderr)
        return 2
    except Interrupted as told:
        return exit_code(told.number)
    states = {worker.state for worker in crew.workers}
    return INTERRUPTED if "interrupted" in states else int("failed" in states)


if __name__ == "__main__":
    sys.exit(main())
