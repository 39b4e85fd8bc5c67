"""How far an evaluation has come: told after every batch, saved now and then, stopped on demand."""

import time
from collections.abc import Callable

import numpy as np

from advarch.evaluation.outcomes import UNKNOWN
from advarch.launch.signals import StopRequest
from advarch.records import Progress
from advarch.stages.shares import OutcomeFile


class Progressing:
    """Tells how many of its images of all columns a process has done, and how long the rest will take; stops it on demand."""

    def __init__(self, report: Callable[[Progress], None], total: int, stop: StopRequest) -> None:
        self.report, self.total, self.stop, self.done = report, total, stop, 0

    def step(self, file: OutcomeFile, key: str, mine: np.ndarray) -> Callable[[], None]:
        """What a column calls after each batch."""
        outcome, began = file.outcomes[key], time.perf_counter()
        start = int((outcome.correct[mine] != UNKNOWN).sum())

        def step() -> None:
            if self.stop.wanted():
                self.stop.saving()
                file.save()
                self.stop.check()
            file.save_sometimes()
            now = int((outcome.correct[mine] != UNKNOWN).sum())
            rate = (time.perf_counter() - began) / max(1, now - start)
            left = rate * (self.total - self.done - now)
            self.report(Progress("evaluate", self.done + now, self.total, "images", left, key))

        return step
