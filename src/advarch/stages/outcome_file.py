"""outcomes.npz while a suite runs: saved as it grows, and how far it has come."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from advarch.evaluation.outcomes import Outcome, load_outcomes
from advarch.files import replace_atomic
from advarch.records import Progress

SAVE_SECONDS = 10.0
"""Outcomes are saved at most this often within an attack; a killed evaluation loses no more."""


class OutcomeFile:
    """outcomes.npz: every outcome of the run, whole on disk at any moment."""

    def __init__(self, path: Path, write: Callable[["OutcomeFile", Path], None]) -> None:
        self.path, self.write = path, write
        self.outcomes: dict[str, Outcome] = {}
        self.settings: dict[str, str] = {}
        self._saved = time.monotonic()
        if path.exists():
            self.outcomes, self.settings = load_outcomes(path)

    def take(self, key: str, settings: str, index: np.ndarray, parts: Sequence[str]) -> Outcome:
        """The outcome of that column so far; a new one when it was computed with other settings."""
        if self.settings.get(key) != settings or not np.array_equal(self.outcomes[key].index, index):
            self.outcomes[key], self.settings[key] = Outcome.unknown(index, parts), settings
        return self.outcomes[key]

    def save(self) -> None:
        """Write all outcomes now."""
        replace_atomic(self.path, lambda temporary: self.write(self, temporary))
        self._saved = time.monotonic()

    def save_sometimes(self) -> None:
        """Write when the last time is long ago."""
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()


class Progressing:
    """Tells how many of all images of all columns are done, and how long the rest will take."""

    def __init__(self, report: Callable[[Progress], None], total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def step(self, file: OutcomeFile, key: str) -> Callable[[], None]:
        """What a column calls after each batch."""
        outcome, began = file.outcomes[key], time.perf_counter()
        start = int((outcome.correct >= 0).sum())

        def step() -> None:
            file.save_sometimes()
            now = int((outcome.correct >= 0).sum())
            rate = (time.perf_counter() - began) / max(1, now - start)
            left = rate * (self.total - self.done - now)
            self.report(Progress("evaluate", self.done + now, self.total, "images", left, key))

        return step
