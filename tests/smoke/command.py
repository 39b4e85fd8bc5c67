"""`advarch ...` as a process of its own, forked from the tests', which has imported what takes every command seconds.

It has the process number, session, signals, working directory, environment and output of a command that was typed; the jobs that it starts
are fresh interpreters.
"""

import contextlib
import importlib
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from advarch.cli.main import main

HIDDEN = ("WANDB_API_KEY", "WANDB_MODE")
LIMIT = 400
"""Seconds after which a command counts as hanging."""


@dataclass
class Command:
    """A running command."""

    pid: int
    output: Path
    code: int | None = None

    def poll(self) -> int | None:
        """The exit code, the negative number of the signal that ended it, or None."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def ended(self) -> tuple[int, str, str]:
        """Exit code, output and errors; nothing of its session is left behind."""
        deadline = time.monotonic() + LIMIT
        try:
            while (code := self.poll()) is None:
                assert time.monotonic() < deadline, "the command hangs"
                time.sleep(0.02)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return code, (self.output / "out.txt").read_text(), (self.output / "err.txt").read_text()


def start(cwd: Path, output: Path, *arguments: str, limit: int | None = None) -> Command:
    """Start `advarch ARGUMENTS` in a folder, its output in files of another; `limit`: the most bytes of a file that it may write."""
    output.mkdir(parents=True, exist_ok=True)
    for name in ("advarch.cli.run", "advarch.runs.build", "advarch.lit.trainer"):
        importlib.import_module(name)
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return Command(pid, output)
    code = 70
    try:
        _become(cwd, output, limit)
        code = main(list(arguments))
    except SystemExit as asked:
        # A multirun ends like that, inside Hydra.
        code = asked.code if isinstance(asked.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(cwd: Path, output: Path, limit: int | None) -> None:
    """Session, folder, environment and output of a command of its own."""
    os.setsid()
    os.chdir(cwd)
    for number, name in ((1, "out.txt"), (2, "err.txt")):
        file = os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    for name in HIDDEN:
        os.environ.pop(name, None)
    os.environ |= {"NETRC": os.devnull, "OMP_NUM_THREADS": "1"}
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def finished(cwd: Path, output: Path, *arguments: str, limit: int | None = None) -> tuple[int, str, str]:
    """Run a command to its end: exit code, output, errors."""
    return start(cwd, output, *arguments, limit=limit).ended()
