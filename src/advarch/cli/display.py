"""What a person sees while jobs run: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from advarch.launch.local import Crew, Worker
from advarch.records import Progress as RunProgress
from advarch.records import RunStatus
from advarch.runs.folder import RunFolder

LINE_SECONDS = 30.0
"""Where there is no terminal, a line of progress at most this often."""

STATE_STYLE = {
    "done": "green",
    "failed": "bold red",
    "running": "cyan",
    "starting": "cyan",
    "queued": "blue",
    "interrupted": "yellow",
    "missing": "dim",
}


def _left(progress: RunProgress) -> str:
    return "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"


YEAR = 365.25 * 86400
"""In seconds."""


def duration(seconds: float | None) -> str:
    """Seconds as 42 s, 3:07 min, 5:12 h, 3.2 d, 149 years; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    if seconds < 172800:
        return f"{int(seconds) // 3600}:{int(seconds) % 3600 // 60:02d} h"
    if seconds < 2 * YEAR:
        return f"{seconds / 86400:.1f} d"
    return f"{seconds / YEAR:,.0f} years"


def shared_beginning(names: Sequence[str]) -> str:
    """What all names begin with, in whole words between hyphens; nothing for a single name."""
    words = [name.split("-") for name in names]
    differing = (i for i, column in enumerate(zip(*words, strict=False)) if len(set(column)) > 1)
    return "-".join(words[0][: next(differing, 0)])


class JobDisplay:
    """One job in the foreground."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self.terminal = self.console.is_terminal
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[note]}"),
            TextColumn("[cyan]{task.fields[left]}"),
        )
        self._picture = ""
        self._live = Live(
            get_renderable=self._shown, console=self.console, transient=True, refresh_per_second=4
        )
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    def __enter__(self) -> "JobDisplay":
        if self.terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal:
            self._live.stop()

    def _shown(self) -> RenderableType:
        """The bars, and below them the picture of the stage that runs."""
        if not self._picture:
            return self._bar
        return Group(self._bar, Padding(Text(self._picture, "dim"), (1, 2)))

    def say(self, line: str) -> None:
        """A line that stays."""
        self._said = time.monotonic()
        if self.terminal:
            self.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def report(self, progress: RunProgress) -> None:
        """Move the bar of the running stage."""
        left = _left(progress)
        self._picture = progress.picture
        if not self.terminal:
            if time.monotonic() - self._said >= LINE_SECONDS:
                self.say(f"{progress.stage} {progress.step / progress.total:.0%}  {progress.note}  {left}")
            return
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._bar.add_task(
                progress.stage, total=progress.total, note="", left=""
            )
        self._bar.update(
            self._tasks[progress.stage],
            completed=progress.step,
            total=progress.total,
            note=progress.note,
            left=left,
        )


STOPPING = "told to stop: the jobs save what they did; Ctrl-C again ends them at once"


class CrewDisplay:
    """Many jobs at once: a live table on a terminal, a line for each start and end elsewhere."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self._live = Live(console=self.console, refresh_per_second=4) if self.console.is_terminal else None
        self._shown: dict[str, str] = {}
        self._last = 0.0
        self._stopping = False

    def __enter__(self) -> "CrewDisplay":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, crew: Crew) -> None:
        """Show where everybody stands."""
        if crew.stopping and not self._stopping:
            self._stopping = True
            self.console.print(STOPPING, highlight=False)
        if self._live is None:
            self._lines(crew)
        elif time.monotonic() - self._last > 0.5 or not any(w.state == "running" for w in crew.workers):
            self._last = time.monotonic()
            self._live.update(_table(crew))

    def _lines(self, crew: Crew) -> None:
        for worker in crew.workers:
            if self._shown.get(worker.folder.name, "missing") == worker.state:
                continue
            self._shown[worker.folder.name] = worker.state
            done = sum(w.state in ("done", "failed") for w in crew.workers)
            after = f" after {duration(worker.seconds)}" if worker.state != "running" else ""
            print(f"[{done}/{len(crew.workers)}] {worker.state}: {worker.folder.name}{after}", flush=True)


def _table(crew: Crew) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "state", "progress", "time"):
        table.add_column(heading, overflow="fold")
    shared = len(shared_beginning([worker.folder.name for worker in crew.workers]))
    for worker in crew.workers:
        state, progress, left = _row(worker)
        table.add_row(
            worker.folder.name[shared:].lstrip("-"),
            Text(state, style=STATE_STYLE[worker.state]),
            progress,
            left,
        )
    done = sum(w.state in ("done", "failed") for w in crew.workers)
    elapsed = duration(time.monotonic() - crew.began)
    return Group(
        table, Text(f"{done} of {len(crew.workers)} jobs ended, {crew.size} at a time, {elapsed}", "bold")
    )


def _row(worker: Worker) -> tuple[str, str, str]:
    if worker.state == "missing":
        return "waiting", "", ""
    if worker.state != "running":
        return worker.state, "", duration(worker.seconds)
    try:
        progress = RunFolder(worker.folder).status().progress
    except ValueError:
        progress = RunStatus().progress
    if progress is None:
        return "starting", "", ""
    share = progress.step / max(1, progress.total)
    bar = "━" * round(20 * share) + "╌" * (20 - round(20 * share))
    return progress.stage, f"{bar} {share:4.0%}  {progress.note}", _left(progress)
