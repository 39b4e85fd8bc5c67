"""An evaluation by several processes: each attacks whole batches of its own, and the first one gathers what they found.

They meet in files only. A process writes the outcomes of its own images to a part file, `.outcomes.<name>.npz`, which is
whole at any moment; what a killed evaluation left in parts is known to the next one, whatever its number of processes.
"""

import copy
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from advarch.errors import RunFailed
from advarch.evaluation.outcomes import UNKNOWN, Outcome, load_outcomes
from advarch.files import replace_atomic
from advarch.launch.ranks import ALONE, Place
from advarch.runs.lock import HEARTBEAT

POLL_SECONDS = 0.2

SILENCE = 300.0
"""Seconds without a sign of life from any other process after which the first one gives up."""

SAVE_SECONDS = 10.0
"""Outcomes are saved at most this often within an attack; a killed evaluation loses no more."""


class OutcomeFile:
    """The outcomes of a run as this process knows them, and the file that it writes: whole on disk at any moment.

    The first process writes outcomes.npz, all that it knows; another one its part, what it found itself.
    """

    def __init__(
        self, folder: Path, write: Callable[["OutcomeFile", Path], None], place: Place = ALONE
    ) -> None:
        self.folder, self.write, self.place = folder, write, place
        self.outcomes: dict[str, Outcome] = {}
        self.settings: dict[str, str] = {}
        self._given: dict[str, np.ndarray] = {}
        self._saved = time.monotonic()
        # The parts of this very evaluation still grow, so they are no knowledge yet.
        beside = f".outcomes.{place.world_size}-{os.environ.get('MASTER_PORT', '')}-"
        self.path = folder / ("outcomes.npz" if place.rank == 0 else f"{beside}{place.rank}.npz")
        before = [path for path in parts(folder) if not path.name.startswith(beside) or place.world_size == 1]
        self._know([folder / "outcomes.npz", *before])
        if place.rank:
            self._given = {key: outcome.correct != UNKNOWN for key, outcome in self.outcomes.items()}
            for outcome in self.outcomes.values():
                outcome.cost, outcome.part_cost = 0 * outcome.cost, 0 * outcome.part_cost
            self._know([self.path])

    def _know(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if not path.exists():
                continue
            found, settings = load_outcomes(path)
            for key, outcome in found.items():
                if key not in self.outcomes:
                    self.outcomes[key], self.settings[key] = outcome, settings[key]
                elif self.settings[key] == settings[key]:
                    add(self.outcomes[key], outcome)

    def take(self, key: str, settings: str, index: np.ndarray, parts: Sequence[str]) -> Outcome:
        """The outcome of that column so far; a new one when it was computed with other settings."""
        if self.settings.get(key) != settings or not np.array_equal(self.outcomes[key].index, index):
            self.outcomes[key], self.settings[key] = Outcome.unknown(index, parts), settings
            self._given.pop(key, None)
        return self.outcomes[key]

    def adopt(self, checkpoint: str, twin: str) -> None:
        """Take the outcomes of another checkpoint, which has the same weights, where this one's are not whole."""
        for key in [key for key in self.outcomes if key.startswith(f"{twin}/")]:
            name = checkpoint + key.removeprefix(twin)
            known = self.outcomes.get(name)
            if known is None or self.settings[name] != self.settings[key] or not known.complete:
                self.outcomes[name], self.settings[name] = (
                    copy.deepcopy(self.outcomes[key]),
                    self.settings[key],
                )
                self._given.pop(name, None)

    @property
    def own(self) -> dict[str, Outcome]:
        """What this process's file is to hold."""
        if self.place.rank == 0:
            return self.outcomes
        return {
            key: without(outcome, self._given.get(key, np.zeros(len(outcome.index), bool)))
            for key, outcome in self.outcomes.items()
        }

    def save(self) -> None:
        """Write it now."""
        replace_atomic(self.path, lambda temporary: self.write(self, temporary))
        self._saved = time.monotonic()

    def save_sometimes(self) -> None:
        """Write when the last time is long ago."""
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def gather(self, keys: Sequence[str], check: Callable[[], None]) -> None:
        """Wait until the parts hold what these columns lack, put it in and write it.

        Args:
            keys: of the columns.
            check: called while waiting; may raise.

        Raises:
            RunFailed: the other processes gave no sign of life for five minutes.
        """
        seen: dict[Path, int] = {}
        alive = time.monotonic()
        lacking = [key for key in keys if not self.outcomes[key].complete]
        while lacking:
            stamps = {path: path.stat().st_mtime_ns for path in parts(self.folder)}
            if stamps != seen:
                seen, alive = stamps, time.monotonic()
                found = [load_outcomes(path)[0] for path in seen]
                lacking = [key for key in lacking if not _add_all(self.outcomes[key], key, found)]
            elif time.monotonic() - alive > SILENCE:
                raise RunFailed(
                    f"no sign of life for {SILENCE:.0f} s from the other processes of the evaluation; what is done is saved, "
                    "run it again to go on"
                )
            check()
            time.sleep(POLL_SECONDS if lacking else 0)
        self.save()

    def tidy(self) -> None:
        """Remove the parts: all they hold lies in outcomes.npz."""
        for path in parts(self.folder):
            path.unlink(missing_ok=True)


def _add_all(outcome: Outcome, key: str, found: Sequence[dict[str, Outcome]]) -> bool:
    """Add the parts of a column once they are whole: a part that grew after it was added would be counted twice."""
    theirs = [part[key] for part in found if key in part and np.array_equal(part[key].index, outcome.index)]
    known = np.any([outcome.correct != UNKNOWN, *(part.correct != UNKNOWN for part in theirs)], axis=0)
    if not known.all():
        return False
    for part in theirs:
        add(outcome, part)
    return True


def parts(folder: Path) -> list[Path]:
    """The part files of a run folder."""
    return sorted(path for path in folder.glob(".outcomes.*.npz") if ".tmp" not in path.name)


def add(outcome: Outcome, part: Outcome) -> None:
    """Put what a part found into an outcome. A part that was added before adds nothing, neither images nor costs."""
    if not np.array_equal(outcome.index, part.index) or outcome.parts != part.parts:
        return
    new = (part.correct != UNKNOWN) & (outcome.correct == UNKNOWN)
    if not new.any():
        return
    for name in ("correct", "distance", "queries"):
        getattr(outcome, name)[new] = getattr(part, name)[new]
    outcome.cost += part.cost
    if outcome.parts:
        outcome.felled_by[new] = part.felled_by[new]
        outcome.part_cost += part.part_cost


def without(outcome: Outcome, known: np.ndarray) -> Outcome:
    """The same with the known images unknown: what is left is this process's own."""
    empty = Outcome.unknown(outcome.index, outcome.parts)
    own = replace(outcome)
    for name in ("correct", "distance", "queries"):
        setattr(own, name, np.where(known, getattr(empty, name), getattr(outcome, name)))
    if outcome.parts:
        own.felled_by = np.where(known, empty.felled_by, outcome.felled_by)
    return own


@contextmanager
def sign_of_life(path: Path) -> Iterator[None]:
    """Touch the file every few seconds meanwhile."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT):
            with suppress(FileNotFoundError):
                os.utime(path)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        stop.set()
