"""Jobs as forks of one process that has imported, once for all of them, what takes each a fresh interpreter's ten seconds."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOST = 1
"""Exit code of a job whose nursery is gone, and the job with it."""


@dataclass
class Forked:
    """A job's process, as far as a launch asks for it."""

    nursery: "Nursery"
    pid: int | None = None
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, the negative number of the signal that ended it, or None."""
        self.nursery.listen()
        return self.code


@dataclass
class Nursery:
    """The process that jobs are forked from: `python -m advarch.cli.nursery`.

    It is told a job as a line of JSON, and tells of each its process number when it is forked and its exit code when it has
    ended. It ends when nobody is left to tell it anything, and its jobs with it.
    """

    process: subprocess.Popen[bytes]
    forked: list[Forked] = field(default_factory=list)
    alive: bool = True
    _said: bytes = b""

    def start(self, folder: Path, *, trust: Sequence[str], log: Path) -> Forked:
        """Have a job forked: its folder, the packages it may name objects of, and the file of its output."""
        job = Forked(self, code=None if self.alive else LOST)
        self.forked.append(job)
        told = {"folder": str(folder), "trust": list(trust), "log": str(log)}
        assert self.process.stdin is not None
        # A nursery that is gone is noticed by who asks how the job is.
        with contextlib.suppress(BrokenPipeError):
            os.write(self.process.stdin.fileno(), json.dumps(told).encode() + b"\n")
        return job

    def listen(self) -> None:
        """Take in what it has said."""
        assert self.process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while self.alive:
                said = os.read(self.process.stdout.fileno(), 4096)
                if not said:
                    self._lost()
                *lines, self._said = (self._said + said).split(b"\n")
                for line in lines:
                    self._hear(line.decode())

    def end(self) -> None:
        """End it, and what jobs it still has."""
        self.process.kill()
        self.process.wait()

    def _hear(self, line: str) -> None:
        pid, _, code = line.partition(" ")
        if code:
            job = next(job for job in self.forked if job.pid == int(pid) and job.code is None)
            job.code = int(code)
        else:
            # They are forked in the order in which they were told.
            next(job for job in self.forked if job.pid is None).pid = int(pid)

    def _lost(self) -> None:
        self.alive = False
        for job in self.forked:
            job.code = LOST if job.code is None else job.code


def open_nursery(environment: Mapping[str, str]) -> Nursery:
    """Start one. It imports in the background; jobs can be told at once.

    Args:
        environment: of all jobs.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "advarch.cli.nursery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        # What is told to everybody in a terminal or a task is told to the jobs by their launch.
        start_new_session=True,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return Nursery(process)
