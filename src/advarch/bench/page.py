"""A bench as Markdown: bench.md, and the tables of docs/benchmarks.md."""

import re
from collections.abc import Iterable, Sequence

from advarch.bench.record import Record
from advarch.bench.row import Row
from advarch.bench.targets import number
from advarch.bench.work import by_what, sentence

QUICK = "Measured with `quick=true`, everything as small as it goes: it shows that it runs, not how fast; targets are left out."

WIDEST = 7
"""Columns of figures beyond which each row gets a table of its own."""


def markdown(record: Record) -> str:
    """Machine, targets, and a table for each group of rows."""
    told = ", ".join(f"{name} {value}" for name, value in record.machine.items())
    lasted = f"{record.seconds / 60:.0f} minutes" if record.seconds >= 90 else f"{record.seconds:.0f} seconds"
    parts = [f"Measured in {lasted}: {told}."]
    if record.quick:
        parts.append(QUICK)
    if record.verdicts:
        lines = [(v.row, v.target.words, v.words) for v in record.verdicts]
        parts.append(_table(("row", "asked for", "reached"), lines))
    for group in dict.fromkeys(_group(row) for row in record.rows):
        rows = [row for row in record.rows if _group(row) == group]
        parts += [f"### {group[0].upper()}{group[1:]}", *filter(None, _group_parts(rows))]
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
    measured = [row for row in rows if row.figures]
    columns = list(dict.fromkeys(name for row in measured for name in row.figures))
    if len(measured) > 1 and len(columns) <= WIDEST:
        lines = [(_title(row), *(_cell(row, name) for name in columns)) for row in measured]
        yield _table(("", *columns), lines)
    elif measured:
        for row in measured:
            yield f"{_title(row)}:" if row.name != _group(row) else ""
            yield _table(("", "figure"), [(name, _cell(row, name)) for name in row.figures])
    said = [f"- {_title(row)}: {note}" for row in rows for note in row.notes]
    said += [
        f"- {_title(row)}: {number(ratio)} times as fast as {peer}"
        for row in rows
        for peer, ratio in row.ratios.items()
        if not any(name.startswith(f"{peer}, ") for name in row.figures)
    ]
    said += [f"- {sentence(what, points)}" for what, points in by_what(rows).items() if len(points) > 1]
    yield "\n".join(said)


def _title(row: Row) -> str:
    return row.name.partition(": ")[2] or row.name


def _cell(row: Row, name: str) -> str:
    """The figure, and behind a peer's how many times as fast ours is."""
    if name not in row.figures:
        return ""
    ratio = row.ratios.get(name.partition(", ")[0])
    return number(row.figures[name]) + (f" ({number(ratio)} times)" if ratio is not None else "")


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
