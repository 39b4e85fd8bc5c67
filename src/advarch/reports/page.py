"""The page: one self-contained report.html that fetches nothing. All that comes from configs and errors is escaped."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from advarch.records import RunRecord
from advarch.reports.cells import Cell
from advarch.reports.closing import Coverage, settings
from advarch.reports.page_runs import pairs, section
from advarch.reports.page_script import SCRIPT, policy
from advarch.reports.page_style import CSS
from advarch.reports.pictures import Picture, figure
from advarch.reports.rows import gather, printable
from advarch.reports.shape import Shape, read_shape
from advarch.reports.table import Header, Row, Table

STATES = ("done", "running", "interrupted", "failed", "missing")


def html(
    sweep: Mapping[str, Any],
    table: Table,
    figures: Sequence[Picture],
    runs: Sequence[RunRecord],
    drawn: Mapping[str, Picture] | None = None,
    looked: Mapping[str, Sequence[Picture]] | None = None,
) -> str:
    """The report of a sweep as one HTML document; `drawn` the curves of runs, `looked` the pictures of analyses, by name."""
    shape = read_shape(sweep)
    body = [
        _header(shape, table.coverage, runs),
        "<section><h2>Results</h2>",
        _controls(shape),
        _table(shape, table, _anchors(shape, runs)),
        _notes(table),
        "</section>",
        f"<section><h2>Figures</h2>{''.join(map(figure, figures))}</section>" if figures else "",
        _runs(shape, runs, drawn or {}, looked or {}),
        _footer(shape),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy())}">'
        f"<title>{escape(shape.title)}</title><style>{CSS}</style>"
    )
    inside = "\n".join(filter(None, body))
    script = f"<script>{SCRIPT}</script>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{inside}\n</main>{script}</body></html>\n'


def _footer(shape: Shape) -> str:
    return (
        f"<footer>advarch report of the sweep <b>{escape(shape.name)}</b>. The numbers are in report.csv; each run's "
        "folder holds its config, its status and the outcome of every attack on every image.</footer>"
    )


def _header(shape: Shape, count: Coverage, runs: Sequence[RunRecord]) -> str:
    facts = [(name, escape("; ".join(answers))) for name, answers in settings(shape, runs).items() if answers]
    present = [(state, getattr(count, state)) for state in STATES if getattr(count, state)]
    said = f"{count.done} of {count.total} jobs done"
    bar = "".join(f'<i class="is-{state}" style="flex:{number}"></i>' for state, number in present)
    legend = "".join(
        f'<li class="is-{state}">{number} {state}</li>' for state, number in present if state != "done"
    )
    flagged = (
        f'<li class="flagged">{count.flagged} of {count.evaluations} evaluations flagged</li>'
        if count.flagged
        else ""
    )
    few = (
        f'<li class="flagged">{count.few} of {count.evaluations} of fewer than 1,000 images</li>'
        if count.few
        else ""
    )
    question = f'<p class="question">{escape(shape.question)}</p>' if shape.question else ""
    return (
        f'<header><p class="eyebrow">advarch report: <b>{escape(shape.name)}</b></p>'
        f"<h1>{escape(shape.title)}</h1>{question}{pairs(facts)}"
        f'<div class="coverage" role="img" aria-label="{said}">{bar}</div>'
        f'<ul class="legend"><li class="is-done">{said}</li>{legend}{flagged}{few}</ul></header>'
    )


def _controls(shape: Shape) -> str:
    """Hidden until the script that they need has run."""
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in shape.checkpoints)
    several = len(shape.checkpoints) > 1
    select = f'<select id="checkpoint" aria-label="Checkpoint"><option value="">all checkpoints</option>{options}</select>'
    return (
        '<div class="controls" id="controls" hidden>'
        '<input id="filter" type="search" placeholder="Filter rows, e.g. 1-2 failed" aria-label="Filter rows">'
        f'{select if several else ""}<output id="shown"></output></div>'
    )


def _table(shape: Shape, table: Table, anchors: Mapping[str, str]) -> str:
    head = "".join(
        f'<th scope="col"{_side(header)}>{escape(header.heading)}</th>' for header in table.headers
    )
    first = shape.figure.checkpoint if shape.figure else shape.checkpoints[0]
    body = "\n".join(_row(row, table.headers, first, anchors) for row in table.rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Results"><table id="results">'
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
