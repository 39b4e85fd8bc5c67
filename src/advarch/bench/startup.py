"""Seconds until the command answers."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial

from advarch.bench.bench import Bench, Case
from advarch.bench.row import Row
from advarch.bench.timing import alternate

NAME = "start-up"
HELP, PLAN = "advarch --help, s", "plan of 125 jobs with sizes, s"


def cases(bench: Bench) -> Iterator[Case]:
    """Three commands, each a process of its own."""
    yield NAME, partial(_row, bench)


def _row(bench: Bench) -> Row:
    with tempfile.TemporaryDirectory() as outputs:
        commands = {
            HELP: ["--help"],
            "plan of 8 jobs, s": ["plan", "+sweep=demo", "sizes=false", f"outputs={outputs}"],
            PLAN: ["plan", "+sweep=robustwrn/fig1b", f"outputs={outputs}"],
        }
        actions = {what: partial(_run, arguments) for what, arguments in commands.items()}
        return Row(NAME, alternate(actions, bench.sizes.rounds))


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "advarch.cli.main", *arguments], capture_output=True, check=True)
