"""A bench as Markdown: bench.md, and the tables of docs/benchmarks.md."""

import re
from collections.abc import Iterable, Sequence

from advarch.bench.record import Record
from advarch.bench.row import Row
from advarch.bench.targets import number

QUICK = "Measured with `quick=true`, everything as small as it goes: it shows that it runs, not how fast; targets are left out."


def markdown(record: Record) -> str:
    """Machine, targets, and a table for each group of rows."""
    told = ", ".join(f"{name} {value}" for name, value in record.machine.items())
    parts = [f"Measured in {record.seconds / 60:.0f} minutes: {told}."]
    if record.quick:
        parts.append(QUICK)
    if record.verdicts:
        lines = [(v.row, v.target.words, v.words) for v in record.verdicts]
        parts.append(_table(("row", "asked for", "reached"), lines))
    for group in dict.fromkeys(_group(row) for row in record.rows):
        rows = [row for row in record.rows if _group(row) == group]
        parts += [f"### {group.capitalize() if group.islower() else group}", *_group_parts(rows)]
    return "\n\n".join(parts) + "\n"


def into(text: str, device: str, tables: str) -> str:
    """A page with what stands between its marks for that device replaced.

    Raises:
        ValueError: the page has no such marks.
    """
    start, end = f"<!-- bench: {device} -->\n", "<!-- /bench -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"expected {start.strip()} and {end} in the page, came none")
    return pattern.sub(lambda _: f"{start}{tables}{end}", text, count=1)


def _group(row: Row) -> str:
    return row.name.partition(":")[0]


def _group_parts(rows: Sequence[Row]) -> Iterable[str]:
    yield _table(
        ("what", "figure", "times as fast as"),
        [
            line
            for row in rows
            for line in [
                (f"**{_title(row)}**", "", _ratios(row)),
                *((n, number(v), "") for n, v in row.figures.items()),
            ]
        ],
    )
    notes = [f"- {_title(row)}: {note}" for row in rows for note in row.notes]
    if notes:
        yield "\n".join(notes)


def _title(row: Row) -> str:
    return row.name.partition(": ")[2] or row.name


def _ratios(row: Row) -> str:
    return ", ".join(f"{peer} {number(value)}" for peer, value in row.ratios.items())


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = "|".join(["---"] + ["---:" if name == "figure" else "---" for name in head[1:]])
    cells = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in [head, *lines]]
    return "\n".join([cells[0], f"|{rule}|", *cells[1:]])
