"""The page: one self-contained report.html that fetches nothing. All that comes from configs and errors is escaped."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from advarch.records import RunRecord
from advarch.reports.cells import Cell
from advarch.reports.closing import Coverage, settings
from advarch.reports.page_frame import bar, controls, document, legend
from advarch.reports.page_runs import link, pairs, section
from advarch.reports.pictures import Picture, figure
from advarch.reports.rows import gather, printable
from advarch.reports.shape import Shape, read_shape
from advarch.reports.table import Header, Row, Table


def html(
    sweep: Mapping[str, Any],
    table: Table,
    figures: Sequence[Picture],
    runs: Sequence[RunRecord],
    drawn: Mapping[str, Picture] | None = None,
    looked: Mapping[str, Sequence[Picture]] | None = None,
    *,
    above: str = "",
) -> str:
    """The report of a sweep as one HTML document; `drawn` the curves of runs, `looked` the pictures of analyses, by name.

    `above`: the way to the page of all sweeps; then each run has a page of its own, and is linked instead of shown.
    """
    shape = read_shape(sweep)
    listed = _linked(shape, runs) if above else _runs(shape, runs, drawn or {}, looked or {})
    body = [
        _header(shape, table.coverage, runs, above),
        '<section class="listing"><h2>Results</h2>',
        controls("1-2 failed", shape.checkpoints),
        _table(shape, table, _anchors(shape, runs)),
        _notes(table),
        "</section>",
        f"<section><h2>Figures</h2>{''.join(map(figure, figures))}</section>" if figures else "",
        listed,
        _footer(shape),
    ]
    return document(shape.title, body)


def _footer(shape: Shape) -> str:
    return (
        f"<footer>advarch report of the sweep <b>{escape(shape.name)}</b>. The numbers are in report.csv; each run's "
        "folder holds its config, its status and the outcome of every attack on every image.</footer>"
    )


def _header(shape: Shape, count: Coverage, runs: Sequence[RunRecord], above: str) -> str:
    facts = [(name, escape("; ".join(answers))) for name, answers in settings(shape, runs).items() if answers]
    question = f'<p class="question">{escape(shape.question)}</p>' if shape.question else ""
    up = f' · <a href="{escape(above)}">all sweeps</a>' if above else ""
    return (
        f'<header><p class="eyebrow">advarch report: <b>{escape(shape.name)}</b>{up}</p>'
        f"<h1>{escape(shape.title)}</h1>{question}{pairs(facts)}{bar(count)}{legend(count)}</header>"
    )


def _table(shape: Shape, table: Table, anchors: Mapping[str, str]) -> str:
    head = "".join(
        f'<th scope="col"{_side(header)}>{escape(header.heading)}</th>' for header in table.headers
    )
    first = shape.figures[0].checkpoint if shape.figures else shape.checkpoints[0]
    body = "\n".join(_row(row, table.headers, first, anchors) for row in table.rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Results"><table class="rows">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(row: Row, headers: Sequence[Header], first: str, anchors: Mapping[str, str]) -> str:
    keys = escape(json.dumps([cell.key for cell in row.cells]))
    cells, i = "", 0
    while i < len(row.cells):
        cell, header = row.cells[i], headers[i]
        span = 1
        if cell.value is None:
            # Neighbours that are absent for the same reason share one cell, which has room to say it.
            while i + span < len(row.cells) and _same_absence(cell, row.cells[i + span]):
                span += 1
        cells += _cell(cell, header, span, anchors.get(row.label, "") if i == 0 else "")
        i += span
    kind = "" if row.checkpoint == first else ' class="other"'
    return f'<tr{kind} data-checkpoint="{escape(row.checkpoint)}" data-keys="{keys}">{cells}</tr>'


def _same_absence(cell: Cell, after: Cell) -> bool:
    return after.value is None and after.state == cell.state


def _cell(cell: Cell, header: Header, span: int, anchor: str) -> str:
    text = escape(cell.text)
    note = f'<span class="note">{escape(cell.note)}</span>' if cell.note else ""
    if cell.value is None:
        return f'<td class="absent is-{cell.state}" colspan="{span}">{text}{note}</td>'
    if anchor:
        return f'<th scope="row"{_side(header)}><a href="#{anchor}">{text}</a></th>'
    if header.id == "checkpoint":
        return f'<td><span class="point">{text}</span></td>'
    mark = f'<sup class="mark">{cell.marks}</sup>' if cell.marks else ""
    return f"<td{_side(header)}>{text}{mark}{_bar(cell) if header.accuracy else ''}{note}</td>"


def _bar(cell: Cell) -> str:
    """The interval (or mean and spread) drawn from 0 to 100 %."""
    if cell.estimate is None:
        return ""
    low, high = (min(max(bound, 0.0), 100.0) for bound in cell.estimate.bounds)
    return f'<span class="bar" style="--low:{low:.2f};--high:{high:.2f};--value:{cell.estimate.value:.2f}"></span>'


def _side(header: Header) -> str:
    return ' class="num"' if header.numeric else ""


def _notes(table: Table) -> str:
    marked = "".join(f'<li><span class="mark">{n.mark}</span> {escape(n.text)}</li>' for n in table.footnotes)
    kinds = [' class="doubtful"' if sentence.startswith("Doubtful") else "" for sentence in table.closing]
    lines = "".join(f"<li{kind}>{escape(text)}</li>" for kind, text in zip(kinds, table.closing, strict=True))
    return f'<ul class="notes">{marked}{lines}</ul>'


def _anchors(shape: Shape, runs: Sequence[RunRecord]) -> dict[str, str]:
    """Where a row's first run is described."""
    numbers = {id(run): i for i, run in enumerate(runs)}
    return {printable(group.label): f"run-{numbers[id(group.runs[0])]}" for group in gather(shape.rows, runs)}


def _linked(shape: Shape, runs: Sequence[RunRecord]) -> str:
    """A line for each run, with the way to its page."""
    labels = {id(run): group.label for group in gather(shape.rows, runs) for run in group.runs}
    lines = "\n".join(link(run, labels[id(run)], f"run-{i}") for i, run in enumerate(runs))
    return f'<section><h2>Runs</h2>\n<ul class="links">{lines}</ul>\n</section>' if runs else ""


def _runs(
    shape: Shape,
    runs: Sequence[RunRecord],
    drawn: Mapping[str, Picture],
    looked: Mapping[str, Sequence[Picture]],
) -> str:
    labels = {id(run): group.label for group in gather(shape.rows, runs) for run in group.runs}
    sections = "\n".join(
        section(run, labels[id(run)], f"run-{i}", drawn.get(run.name), looked.get(run.name, ()))
        for i, run in enumerate(runs)
    )
    return f"<section><h2>Runs</h2>\n{sections}\n</section>" if runs else ""
