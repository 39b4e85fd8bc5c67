"""The table as Markdown, as CSV, and on a terminal."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Literal

from rich.box import Box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from advarch.reports.cells import Cell
from advarch.reports.table import Header, Table

STYLES = {
    "missing": "dim",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "bold red",
    "partial": "",
    "done": "",
}

LONGEST = 60
"""An error's text is cut to this in Markdown; the page shows all of it."""

NARROW = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
"""A rule below the heads and nothing else; a table of three attacks fits into 80 columns."""

TOGETHER = 7
"""Numbers side by side on a terminal; those of a wider table go below, where a terminal would cut them off."""

PARTS = ("percent", "low", "high", "std", "seeds", "n")
"""The fields of one accuracy in the CSV."""


def markdown(table: Table, figures: Sequence[tuple[str, str]] = ()) -> str:
    """The table as a Markdown document; `figures` are (caption, file name) pairs to show below it."""
    heads = [header.heading for header in table.headers]
    body = [[_joined(cell) for cell in row.cells] for row in table.rows]
    widths = [max(3, *(len(line[i]) for line in [heads, *body])) for i in range(len(heads))]
    rule = [
        "-" * (width - 1) + ":" if header.numeric else "-" * width
        for header, width in zip(table.headers, widths, strict=True)
    ]
    lines = [f"# {_escape(table.title)}", ""]
    lines += [_escape(table.question), ""] if table.question else []
    lines += [_line(cells, table.headers, widths) for cells in (heads, rule, *body)]
    lines += (
        ["", *(f"{note.mark} {_escape(note.text)}  " for note in table.footnotes)] if table.footnotes else []
    )
    lines += ["", *(f"- {_escape(sentence)}" for sentence in table.closing)]
    for caption, name in figures:
        lines += ["", f"![{_escape(caption)}]({name})"]
    return "\n".join(lines) + "\n"


def csv_text(table: Table) -> str:
    """Raw values, one line per row and checkpoint: accuracies in percent with their interval, spread and counts.

    An accuracy `a` has the columns a_percent, a_low, a_high (95 % Wilson, one seed), a_std and a_seeds (over seeds), and
    a_n (images). Labels are JSON; an empty field is a number that is not there.
    """
    heads: list[str] = []
    for header in table.headers:
        heads += [f"{header.id}_{part}" for part in PARTS] if header.accuracy else [header.id]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*heads, "state", "jobs", "jobs_done", "flags"])
    for row in table.rows:
        fields: list[object] = []
        for header, cell in zip(table.headers, row.cells, strict=True):
            fields += _parts(cell) if header.accuracy else ["" if cell.value is None else cell.value]
        writer.writerow([*fields, row.state, row.jobs, row.done, "; ".join(row.flags)])
    return file.getvalue()


def console(table: Table, screen: Console | None = None) -> None:
    """Print the table on that rich console, or on standard output; without a terminal nothing is folded below 120 columns."""
    if screen is None:
        screen = Console()
        screen = screen if screen.is_terminal else Console(width=max(screen.width, 120))
    screen.print(renderable(table))


def renderable(table: Table) -> RenderableType:
    """The table for a rich console: state by colour and word, intervals beside the numbers or below where it is narrow."""
    labels = [header.id for header in table.headers].index("checkpoint") + 1
    numbers = range(labels, len(table.headers))
    parts: list[RenderableType] = [Text(table.title, style="bold")]
    parts += [Text(table.question, style="italic")] if table.question else []
    for start in range(0, max(1, len(numbers)), TOGETHER):
        parts += [Text(), _grid(table, [*range(labels), *numbers[start : start + TOGETHER]])]
    parts.append(Text())
    parts += [Text(f"{note.mark} {note.text}", style="yellow") for note in table.footnotes]
    parts += [Text(line, style="red") for line in _failures(table)]
    parts += [Text(sentence, style=_tone(sentence)) for sentence in table.closing]
    return Group(*parts)


def _grid(table: Table, shown: Sequence[int]) -> Grid:
    """Those of the table's columns; a row's labels are dimmed where the row before has the same."""
    grid = Grid(box=NARROW, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for header in (table.headers[number] for number in shown):
        side: Literal["right", "left"] = "right" if header.numeric else "left"
        # Wide enough for "88.65–100.00", and then the interval folds below its number and never inside itself.
        grid.add_column(
            Text(header.heading),
            justify=side,
            min_width=_widest(table, header) if header.accuracy else None,
            no_wrap=not header.accuracy,
        )
    labels = [header.id for header in table.headers].index("checkpoint")
    for before, row in zip((None, *table.rows), table.rows, strict=False):
        again = before is not None and before.label == row.label
        texts = [_styled(row.cells[number]) for number in shown]
        for text in texts[:labels] if again else []:
            text.stylize("dim")
        grid.add_row(*texts)
    return grid


def _widest(table: Table, header: Header) -> int:
    """The longest word of the column's notes, at least that of 58.24–68.15."""
    place = table.headers.index(header)
    notes = [
        word for row in table.rows for word in row.cells[place].note.split() if row.cells[place].estimate
    ]
    return max(11, *map(len, notes)) if notes else 11


def _line(cells: Sequence[str], headers: Sequence[Header], widths: Sequence[int]) -> str:
    columns = zip(cells, headers, widths, strict=True)
    padded = [cell.rjust(width) if header.numeric else cell.ljust(width) for cell, header, width in columns]
    return "| " + " | ".join(padded) + " |"


def _joined(cell: Cell) -> str:
    note = f" ({cell.note})" if cell.note else ""
    return _escape(_cut(cell.text)) + cell.marks + _escape(note)


def _escape(text: str) -> str:
    """Nothing in a label or an error may start Markdown or HTML."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _styled(cell: Cell) -> Text:
    failed = cell.state == "failed"
    shown = cell.text.replace(" %", "%") if cell.state == "running" else cell.text
    text = Text("failed" if failed else shown + cell.marks, style=STYLES[cell.state])
    if cell.note and cell.estimate:
        text.append(f" {cell.note}", style="dim")
    return text


def _failures(table: Table) -> list[str]:
    """Errors in full below the table: a cell of eleven characters is no place for them."""
    lines = [
        f"{row.label} {c.text}" for row in table.rows for c in row.cells if c.text.startswith("failed: ")
    ]
    return list(dict.fromkeys(lines))


def _tone(sentence: str) -> str:
    return "yellow" if sentence.startswith(("Doubtful", "Flagged")) else "dim"


def _parts(cell: Cell) -> list[object]:
    e = cell.estimate
    return (
        ["" if v is None else v for v in (e.value, e.low, e.high, e.std, e.seeds, e.images)]
        if e
        else [""] * len(PARTS)
    )
