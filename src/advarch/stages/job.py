"""What every stage is given."""

from collections.abc import Callable
from dataclasses import dataclass, field

from advarch.launch.ranks import ALONE, Place
from advarch.launch.signals import StopRequest
from advarch.records import Progress
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder
from advarch.runs.tracking import Tracker


@dataclass(frozen=True)
class Job:
    """A run folder at work: its config, where curves are sent, where progress is told and lines are said, whether it is to
    stop, and which of several processes this one is."""

    folder: RunFolder
    config: Config
    tracker: Tracker
    report: Callable[[Progress], None]
    say: Callable[[str], None]
    stop: StopRequest = field(default_factory=StopRequest)
    place: Place = ALONE
