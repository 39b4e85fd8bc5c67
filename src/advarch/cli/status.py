"""The verb `status`: where the runs in a folder stand."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from advarch import records
from advarch.cli import slurm
from advarch.cli.display import STATE_STYLE, duration
from advarch.errors import InputError
from advarch.launch.queue import Queued
from advarch.launch.submission import Place, places, standing
from advarch.records import State, TrainRecord
from advarch.runs.folder import RunFolder, missing_columns
from advarch.runs.lock import holder

Row = tuple[str, str, str, str, str, str]
"""Name, state, stage, share done, time left, note."""

ASKED = "attack.json"
"""What `advarch attack` was asked for last in a folder."""

ATTACKED = (ASKED, "binarization.json", "transfer.csv")
"""The files by which folders of `advarch attack` are known."""

LOOK_SECONDS = 5.0
"""Between two looks: squeue is a question to the machine that everybody's jobs wait for."""

AT_WORK = ("queued", "starting", "running")


def status(arguments: Sequence[str]) -> int:
    """List every run folder under a folder (outputs by default) with its state, progress and last error.

    `watch=true` keeps looking until no run is queued or running.

    Raises:
        InputError: no such folder.
    """
    rest = [argument for argument in arguments if argument != "watch=true"]
    unknown = [argument for argument in rest if "=" in argument and not argument.startswith("outputs=")]
    if unknown:
        raise InputError(f"status: expected a folder and watch=true or neither, came {', '.join(unknown)}")
    if len(rest) > 1:
        raise InputError(
            f"status: expected one folder, came {len(rest)}: {', '.join(rest)}; name the folder that holds them"
        )
    root = Path(rest[0].removeprefix("outputs=") if rest else "outputs")
    if not root.is_dir():
        raise InputError(f"status: expected a folder of runs, came {str(root)!r}, which is not there")
    if len(rest) < len(arguments):
        watch(root)
        return 0
    rows = _rows(root, slurm.live(root))
    if not rows:
        print(f"no runs in {root}")
        return 0
    Console().print(_table(rows, root))
    return 0


def watch(root: Path, names: Collection[str] | None = None) -> None:
    """Show the table anew every few seconds, until no run (of these names) is queued or running.

    Without a terminal it is printed once, at the end.
    """
    console = Console()
    with (
        Live(console=console, auto_refresh=False)
        if console.is_terminal
        else contextlib.nullcontext() as shown
    ):
        while True:
            queued = slurm.live(root)
            rows = _rows(root, queued)
            if shown:
                shown.update(_table(rows, root), refresh=True)
            states = [row[1] for group in rows.values() for row in group if names is None or row[0] in names]
            if queued is not None and not set(states) & set(AT_WORK):
                break
            time.sleep(LOOK_SECONDS)
    if not console.is_terminal:
        console.print(_table(rows, root))


def _rows(root: Path, queued: Mapping[str, Queued] | None) -> dict[Path, list[Row]]:
    """The runs below the folder of their sweep."""
    rows: dict[Path, list[Row]] = {}
    known: dict[Path, Mapping[str, Place]] = {}
    for folder in (RunFolder(path.parent) for path in sorted(root.rglob("config.yaml"))):
        parent = folder.path.parent
        if parent not in known:
            known[parent] = places(parent, queued) if queued is not None else {}
        rows.setdefault(parent, []).append(_row(folder, known[parent].get(folder.path.name)))
    for path in sorted({path.parent for name in ATTACKED for path in root.rglob(name)}):
        state, error = attacked(RunFolder(path))
        rows.setdefault(path.parent, []).append((path.name, state, "attack", "", "", error))
    return rows


def _row(folder: RunFolder, place: Place | None) -> Row:
    try:
        stands = standing(folder, folder.config(), place)
    except InputError as damaged:
        return folder.path.name, "failed", "", "", "", str(damaged)
    progress = folder.status().progress if stands.state == "running" else None
    share = f"{progress.step / max(1, progress.total):.0%}" if progress else ""
    stage = progress.stage if progress else ""
    note = stands.note or (
        progress.note if progress else "" if stands.state == "queued" else _stopped(folder)
    )
    again = (
        f"requeued {stands.requeued} {'time' if stands.requeued == 1 else 'times'}" if stands.requeued else ""
    )
    left = duration(progress.seconds_left) if progress else ""
    return folder.path.name, stands.state, stage, share, left, "; ".join(filter(None, [again, note]))


def _table(rows: Mapping[Path, Sequence[Row]], root: Path) -> Table:
    """The runs below the sweep they are of. A narrow terminal folds names and notes, never drops a state."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold", ratio=3)
    for heading in ("state", "stage", "done", "left"):
        table.add_column(heading, no_wrap=True)
    table.add_column("", overflow="fold", ratio=2)
    for parent, runs in rows.items():
        states = Counter(state for _, state, *_ in runs)
        counts = ", ".join(f"{states[state]} {state}" for state in STATE_STYLE if state in states)
        table.add_row(Text(f"{parent.relative_to(root)}: {counts}", "bold"))
        for name, state, stage, share, left, note in runs:
            table.add_row(
                Padding(Text(name), (0, 0, 0, 2)),
                Text(state, STATE_STYLE[state]),
                stage,
                share,
                left,
                Text(note),
            )
    return table


def attacked(folder: RunFolder) -> tuple[State, str]:
    """The state of a folder of `advarch attack`, which keeps no status: what it asked for last against what is there."""
    if holder(folder.path) is not None:
        return "running", ""
    if not (folder.path / ASKED).exists():
        return "done", ""
    try:
        config = json.loads((folder.path / ASKED).read_text())["config"]
        config = {**config, "evaluation": {**config["evaluation"], "checkpoints": ["given"]}}
        return ("interrupted" if missing_columns(folder.evaluation(), config) else "done"), ""
    except (InputError, ValueError, KeyError) as error:
        return "failed", str(error)


def _stopped(folder: RunFolder) -> str:
    """Why training ended before its last epoch, or what is wrong with the file that says so."""
    try:
        trained = records.read(TrainRecord, folder.path / "train.json")
    except InputError as error:
        return str(error)
    return trained.stopped if trained else ""
