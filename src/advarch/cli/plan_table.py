"""The table of `advarch plan`: the jobs, a line each, in as many columns as the terminal has room for."""

import os
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advarch.cli.compose import PlannedJob
from advarch.cli.display import STATE_STYLE, shared_beginning
from advarch.cli.sizes import backbone_digest
from advarch.launch import cost
from advarch.launch.memory import training_memory
from advarch.records import Size, State

LEAST = ("training MACs", "memory", "MACs", "parameters")
"""Columns that a narrow terminal has no room for, the first to go first."""

BETWEEN = 2
"""Characters between two columns."""


def rows_of_jobs(
    jobs: Sequence[PlannedJob], states: Sequence[State], sizes: dict[str, Size]
) -> list[dict[str, str]]:
    """The cells of each job by their heading."""
    names = [job.folder.path.name for job in jobs]
    shared = len(shared_beginning(names))
    rows = []
    for number, (job, name, state) in enumerate(zip(jobs, names, states, strict=True), 1):
        row = {"#": str(number), "job": name[shared:].lstrip("-")}
        if sizes:
            row |= _size_cells(job, sizes.get(backbone_digest(job)))
        rows.append(row | {"state": state})
    return rows


def _size_cells(job: PlannedJob, size: Size | None) -> dict[str, str]:
    if size is None:
        return dict.fromkeys(reversed(LEAST), "unknown")
    work, held = cost.training_macs(job.config, size), training_memory(job.config, size)
    return {
        "parameters": f"{size.parameters:,}",
        "MACs": f"{size.macs:,}",
        "memory": f"{held / 2**30:.2f} GiB" if held else "unknown",
        "training MACs": f"{work:.3g}" if work else "unknown",
    }


def make_screen() -> Console:
    """The terminal; what goes into a file or a pipe has all the room that it needs."""
    screen = Console()
    return screen if screen.is_terminal or "COLUMNS" in os.environ else Console(width=10_000)


def show(rows: Sequence[dict[str, str]], screen: Console) -> None:
    """Print as many columns as there is room for beside whole names; a name longer than that is broken at its hyphens."""
    widths = {heading: max(len(heading), *(len(row[heading]) for row in rows)) for heading in rows[0]}
    absent: list[str] = []

    def needed() -> int:
        kept = [width for heading, width in widths.items() if heading not in absent]
        return sum(kept) + BETWEEN * (len(kept) - 1)

    for heading in LEAST:
        if heading in widths and needed() > screen.width:
            absent.insert(0, heading)
    room = max(widths["job"] - max(0, needed() - screen.width), 1)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in widths:
        if heading not in absent:
            left = heading in ("job", "state")
            table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "job")
    for row in rows:
        cells: dict[str, str | Text] = {key: cell for key, cell in row.items() if key not in absent}
        cells["job"] = _broken(row["job"], room)
        cells["state"] = Text(row["state"], STATE_STYLE[row["state"]])
        table.add_row(*cells.values())
    screen.print(table)
    if absent:
        screen.print(
            f"no room for {', '.join(absent)}: make the terminal wider, or add | less -S", highlight=False
        )


def _broken(name: str, room: int) -> str:
    """The name in lines of that many characters, broken at its hyphens."""
    if len(name) <= room:
        return name
    return textwrap.fill(name.replace("-", "- "), room).replace("- ", "-")
