"""How far an evaluation has come: told after every batch, saved now and then, stopped on demand."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from advarch.evaluation.outcomes import UNKNOWN
from advarch.launch.signals import StopRequest
from advarch.records import Progress
from advarch.runs.columns import ColumnPlan
from advarch.stages.shares import OutcomeFile

FIXED = frozenset(["fgsm", "rfgsm", "pgd", "mim", "cw_linf", "gama"])
"""Attacks that take as many gradients of every image as their settings say; others stop early or have parts."""


@dataclass(frozen=True)
class Work:
    """What a column has to do.

    images: this process's.
    gradients: that its attack takes of each image that stands; None where that shows only as it runs.
    settings: the column's digest.
    """

    images: int
    gradients: int | None
    settings: str


def gradients(column: ColumnPlan) -> int | None:
    """How many gradients of each standing image the column's attack takes; None where its settings do not say."""
    node = column.node
    fixed = str(node.get("_target_")).rpartition(".")[2] in FIXED and not node.get("stop_on_success")
    if not fixed or column.source:
        return None
    counts = [node.get(key) or 1 for key in ("steps", "restarts", "eot_samples")]
    return int(np.prod(counts))


class Progressing:
    """Tells how many of its images of all columns a process has done, and how long the rest will take; stops it on demand.

    Only images that stand are attacked, and a column's pace is that of its own. A column to come has the pace that it had for
    another checkpoint, else as many gradients at the pace measured last. Where one of them has neither, no time is told.
    """

    def __init__(
        self, report: Callable[[Progress], None], works: Mapping[str, Work], stop: StopRequest
    ) -> None:
        self.report, self.works, self.stop, self.done = report, works, stop, 0
        self.total = sum(work.images for work in works.values())
        self._paces: dict[str, float] = {}
        self._per_gradient: float | None = None

    def step(
        self, file: OutcomeFile, key: str, mine: np.ndarray, standing: np.ndarray | None = None
    ) -> Callable[[], None]:
        """What a column calls after each batch; `mine` and `standing` are per image of the column, None: all stand."""
        outcome, began = file.outcomes[key], time.perf_counter()
        attacked = mine if standing is None else mine & standing
        before = outcome.correct != UNKNOWN
        share = attacked.sum() / max(1, mine.sum())

        def step() -> None:
            if self.stop.wanted():
                self.stop.saving()
                file.save()
                self.stop.check()
            file.save_sometimes()
            known = outcome.correct != UNKNOWN
            fresh = int((attacked & known & ~before).sum())
            if fresh:
                self._measured(key, (time.perf_counter() - began) / fresh)
            here, later = self._seconds(key, int((attacked & ~known).sum())), self._later(file, key, share)
            left = None if here is None or later is None else here + later
            self.report(
                Progress("evaluate", self.done + int(known[mine].sum()), self.total, "images", left, key)
            )

        return step

    def _measured(self, key: str, pace: float) -> None:
        self._paces[_name(key)] = pace
        if taken := self.works[key].gradients:
            self._per_gradient = pace / taken

    def _later(self, file: OutcomeFile, key: str, share: float) -> float | None:
        """Seconds of the columns behind this one, if as large a share of their images stands."""
        keys = list(self.works)
        seconds = 0.0
        for other in keys[keys.index(key) + 1 :]:
            work = self.works[other]
            if file.settings.get(other) == work.settings and file.outcomes[other].complete:
                continue
            spent = self._seconds(other, work.images * share)
            if spent is None:
                return None
            seconds += spent
        return seconds

    def _seconds(self, key: str, images: float) -> float | None:
        """Seconds that a column takes for so many images that stand."""
        taken = self.works[key].gradients
        pace = self._paces.get(_name(key))
        if pace is None and taken and self._per_gradient is not None:
            pace = taken * self._per_gradient
        return 0.0 if not images else None if pace is None else pace * images


def _name(key: str) -> str:
    """The column's name without its checkpoint."""
    return key.partition("/")[2]
