"""Being told to stop: save at the next good moment, but don't take long."""

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from advarch.errors import Interrupted

STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""SIGTERM: a scheduler takes the machine back. SIGUSR1: SLURM's warning before the time is up. SIGINT: Ctrl-C."""

GRACE = 8.0
"""Seconds until the next good moment (the end of a step, of a batch); then the process stops where it is."""

LONGEST = 25.0
"""The same where good moments are known to be rarer. Slurm kills 30 seconds after SIGTERM."""

INTERRUPTED = 79
"""Exit code of a job that was told to stop and goes on when it is started again (the first that sysexits.h leaves free)."""


SAVING = "told to stop: saving at the next step; Ctrl-C again stops at once, without"


class StopRequest:
    """Whether the process was told to stop, and by which signal.

    Outside of `deferred` a signal raises Interrupted at once. Inside it only notes the signal: who works there looks at
    `wanted` at the next good moment, saves, and raises it. After GRACE seconds without such a moment (twice what lay between
    the last two, if that is longer, but never more than LONGEST), or on a second Ctrl-C, it is raised all the same, which
    loses what was not saved but damages nothing. `say` is told when a signal has to wait.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.say: Callable[[str], None] = _silent
        self._deferring = False
        self._when = 0.0
        self._moment: float | None = None
        self._between = 0.0

    def listen(self) -> None:
        """Take these signals, also where somebody else took them in between."""
        for number in STOPS:
            signal.signal(number, self._told)
        signal.signal(signal.SIGALRM, self._too_late)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take them for a while only."""
        before = {number: signal.getsignal(number) for number in (*STOPS, signal.SIGALRM)}
        self.listen()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def moment(self) -> None:
        """A good moment is here."""
        now = time.monotonic()
        if self._moment is not None:
            self._between = now - self._moment
        self._moment = now

    def wanted(self) -> bool:
        """Whether a signal came; asked at good moments."""
        self.moment()
        return self.number is not None

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, a signal waits for the next good moment."""
        self._deferring, self._moment, self._between = True, None, 0.0
        try:
            yield
        finally:
            self._deferring = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.check()

    def check(self) -> None:
        """Stop here if it was wanted."""
        if self.number is not None:
            self.saving()
            raise Interrupted(self.number)

    def saving(self) -> None:
        """The good moment has come: take the time that it takes."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _told(self, number: int, frame: Any) -> None:
        del frame
        first = self.number is None
        # One Ctrl-C may arrive twice, from the terminal and from the parent.
        again = not first and number == signal.SIGINT and time.monotonic() - self._when > 1.0
        if first:
            self.number, self._when = number, time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, min(max(GRACE, 2 * self._between), LONGEST))
            if self._deferring:
                # It may have come in the middle of another line, which is then not to be written into.
                with contextlib.suppress(RuntimeError):
                    self.say(SAVING)
        # Only the first is raised: the next one would hit those who clean up after it.
        if again or (first and not self._deferring):
            self.check()

    def _too_late(self, number: int, frame: Any) -> None:
        del number, frame
        self.check()


def _silent(line: str) -> None:
    del line


def name_of(number: int) -> str:
    """SIGTERM, SIGINT, ..."""
    return signal.Signals(number).name


def exit_code(number: int) -> int:
    """130 after Ctrl-C, as shells have it; INTERRUPTED after the others."""
    return 130 if number == signal.SIGINT else INTERRUPTED


def end_process(code: int) -> NoReturn:
    """End with that exit code, and leave it to the system to take the process apart: with torch imported Python takes seconds."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)
