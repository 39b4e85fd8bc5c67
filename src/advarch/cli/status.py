"""The verb `status`: where the runs in a folder stand."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from advarch import records
from advarch.cli.display import STATE_STYLE, duration
from advarch.errors import InputError
from advarch.records import State, TrainRecord
from advarch.runs.folder import RunFolder, missing_columns
from advarch.runs.lock import holder

Row = tuple[str, State, str, str, str, str]
"""Name, state, stage, share done, time left, note."""

ASKED = "attack.json"
"""What `advarch attack` was asked for last in a folder."""

ATTACKED = (ASKED, "binarization.json", "transfer.csv")
"""The files by which folders of `advarch attack` are known."""


def status(arguments: Sequence[str]) -> int:
    """List every run folder under a folder (outputs by default) with its state, progress and last error.

    Raises:
        InputError: no such folder.
    """
    root = Path(arguments[0].removeprefix("outputs=") if arguments else "outputs")
    if not root.is_dir():
        raise InputError(f"status: expected a folder of runs, came {str(root)!r}, which is not there")
    folders = [RunFolder(path.parent) for path in sorted(root.rglob("config.yaml"))]
    attacks = sorted({path.parent for name in ATTACKED for path in root.rglob(name)})
    if not folders and not attacks:
        print(f"no runs in {root}")
        return 0
    rows: dict[Path, list[Row]] = {}
    for folder in folders:
        state, error = folder.state(folder.config())
        progress = folder.status().progress if state == "running" else None
        share = f"{progress.step / max(1, progress.total):.0%}" if progress else ""
        stage = progress.stage if progress else ""
        left = duration(progress.seconds_left) if progress else ""
        note = error or (progress.note if progress else _stopped(folder))
        rows.setdefault(folder.path.parent, []).append((folder.path.name, state, stage, share, left, note))
    for path in attacks:
        state, error = _attacked(RunFolder(path))
        rows.setdefault(path.parent, []).append((path.name, state, "attack", "", "", error))
    _show(rows, root)
    return 0


def _show(rows: dict[Path, list[Row]], root: Path) -> None:
    """Print the runs below the sweep they are of. A narrow terminal folds names and notes, never drops a state."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold", ratio=3)
    for heading in ("state", "stage", "done", "left"):
        table.add_column(heading, no_wrap=True)
    table.add_column("", overflow="fold", ratio=2)
    for parent, runs in rows.items():
        states = Counter(state for _, state, *_ in runs)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
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
    Console().print(table)


def _attacked(folder: RunFolder) -> tuple[State, str]:
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
