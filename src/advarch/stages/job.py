"""What every stage is given."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from advarch.records import Progress
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder
from advarch.runs.tracking import Tracker


@dataclass(frozen=True)
class Job:
    """A run folder at work: its config, where curves are sent, where progress is told and lines are said."""

    folder: RunFolder
    config: Config
    tracker: Tracker
    report: Callable[[Progress], None]
    say: Callable[[str], None]


def rank() -> int:
    """This process's rank among those of one job; 0 for a job of one process."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    return 0
