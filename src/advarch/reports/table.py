"""The table of a sweep: one row per network and checkpoint, published beside own numbers, what is missing or doubtful."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advarch.evaluation.sanity import TEXTS
from advarch.records import RunRecord
from advarch.reports import closing
from advarch.reports.cells import Cell, CellState, cell, say_once, value_of
from advarch.reports.closing import Coverage
from advarch.reports.columns import Column, read_columns
from advarch.reports.compared import Compared, compared
from advarch.reports.rows import Group, gather, headings, lookup, printable, sort_key
from advarch.reports.shape import Shape, read_shape

MARKS = ("†", "‡", "§", "¶", "‖", "#")


@dataclass(frozen=True)
class Header:
    """A column's head. `id` is the config key or column id; the heading says the unit; numbers are set right."""

    id: str
    heading: str
    numeric: bool
    accuracy: bool = False


@dataclass(frozen=True)
class Row:
    """One network at one checkpoint. `state`: partial when some of its jobs are done, else that of the worst one."""

    label: str
    checkpoint: str
    state: CellState
    jobs: int
    done: int
    cells: tuple[Cell, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Footnote:
    """What a mark in a cell stands for."""

    mark: str
    text: str


@dataclass(frozen=True)
class Table:
    """All that any rendering of the table needs. `closing` says what is missing or doubtful."""

    name: str
    title: str
    question: str
    headers: tuple[Header, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[Footnote, ...]
    closing: tuple[str, ...]
    coverage: Coverage


def build(sweep: Mapping[str, Any], runs: Sequence[RunRecord], *, beside: str = "") -> Table:
    """The table of a sweep from its resolved mapping and one record per job; `beside` says what it leaves out.

    Raises:
        InputError: the sweep lacks a key, or names a column or a config key that is not there.
    """
    shape = read_shape(sweep)
    columns = read_columns(shape.columns, runs)
    groups = gather(shape.rows, runs)
    marks = _marks(shape, groups)
    paper = compared(sweep, shape, columns, groups)
    rows = tuple(
        _row(g, checkpoint, shape, columns, marks, paper) for g in groups for checkpoint in shape.checkpoints
    )
    labels = tuple(
        Header(key, name, _numeric(key, groups))
        for key, name in zip(shape.rows, headings(shape.rows), strict=True)
    )
    numbers = [
        Header(id, heading, True, accuracy=id == column.id and column.get is None)
        for column in columns
        for id, heading in paper.headings(column)
    ]
    footnotes = [Footnote(mark, _footnote(flag)) for flag, mark in marks.items()]
    footnotes += [Footnote(mark, note) for note, mark in paper.marks.items()]
    headers = (*labels, Header("checkpoint", "checkpoint", False), *numbers)
    estimates = [
        (header.heading.removesuffix(" (%)"), cell.estimate)
        for row in rows
        for header, cell in zip(headers, row.cells, strict=True)
        if cell.estimate
    ]
    alone = [
        Row(", ".join(line.labels), line.checkpoint, "missing", 0, 0, paper.alone(line, shape, columns))
        for line in paper.unmatched
    ]
    return Table(
        name=shape.name,
        title=shape.title,
        question=shape.question,
        headers=headers,
        rows=(*rows, *alone),
        footnotes=tuple(footnotes),
        closing=(
            *filter(None, [beside]),
            *paper.sentences,
            *closing.sentences(shape, groups, estimates),
        ),
        coverage=closing.coverage(shape, runs),
    )


def _row(
    group: Group,
    checkpoint: str,
    shape: Shape,
    columns: Sequence[Column],
    marks: Mapping[str, str],
    paper: Compared,
) -> Row:
    labels = [
        Cell(text, _raw(value), sort_key(value))
        for text, value in zip(group.labels, group.values, strict=True)
    ]
    ours = say_once([cell(group, column, checkpoint, marks) for column in columns])
    cells = [
        found
        for column, own in zip(columns, ours, strict=True)
        for found in paper.cells(column, own, group.labels, checkpoint)
    ]
    flags = dict.fromkeys(flag for column in columns for flag in value_of(group, column, checkpoint)[1])
    done = sum(run.state == "done" for run in group.runs)
    return Row(
        label=group.label,
        checkpoint=checkpoint,
        state=_state(group, done),
        jobs=len(group.runs),
        done=done,
        cells=(
            *labels,
            Cell(checkpoint, checkpoint, float(shape.checkpoints.index(checkpoint))),
            *cells,
        ),
        flags=(*flags, *closing.table_wide(group.runs, checkpoint)),
    )


def _state(group: Group, done: int) -> CellState:
    if done == len(group.runs):
        return "done"
    if done:
        return "partial"
    states = {run.state for run in group.runs}
    worst: tuple[CellState, ...] = ("failed", "interrupted", "running")
    return next((state for state in worst if state in states), "missing")


def _marks(shape: Shape, groups: Sequence[Group]) -> dict[str, str]:
    """One mark per flag, in order of appearance: † ‡ § ... then doubled."""
    flags = dict.fromkeys(flag for group in groups for flag in closing.flags(shape, group.runs))
    return {flag: MARKS[i % len(MARKS)] * (1 + i // len(MARKS)) for i, flag in enumerate(flags)}


def _footnote(flag: str) -> str:
    said = f": {TEXTS[flag]}; the true robust accuracy may be lower." if flag in TEXTS else ""
    return f"the evaluation raised the flag '{printable(flag)}'" + (
        said or ": the true robust accuracy may be lower."
    )


def _raw(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _numeric(key: str, groups: Sequence[Group]) -> bool:
    values = [lookup(group.runs[0].config, key) for group in groups]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
