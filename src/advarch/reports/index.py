"""The page of a whole folder: its sweeps with how much of each is there, and every run. Both can be sorted and filtered."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from html import escape
from urllib.parse import quote

from advarch.evaluation.sanity import TABLE_WIDE
from advarch.records import AttackResult, RunRecord
from advarch.reports.closing import Coverage
from advarch.reports.page_frame import bar, controls, document, legend
from advarch.reports.page_runs import PAGE, pairs
from advarch.reports.rows import printable

Cell = tuple[str, float | str | None]
"""A cell as HTML, and what it sorts by; None comes last."""

SWEEP_HEADS = (
    "sweep",
    "coverage",
    "done",
    "failed",
    "missing",
    "flagged",
    "best robust (%)",
    "clean (%)",
    "last change",
)
RUN_HEADS = ("run", "sweep", "state", "clean (%)", "robust (%)", "against", "flags", "last change")  # fmt: skip
WORDS = ("sweep", "run", "coverage", "state", "against", "flags", "last change")
"""Heads of columns that hold no numbers."""


@dataclass(frozen=True)
class Entry:
    """A sweep, or a folder of single runs: its path below the page, its words, its jobs, and why it has no report.

    `changed`: when each run last changed, by name, in seconds since 1970.
    """

    path: str
    title: str
    runs: tuple[RunRecord, ...]
    coverage: Coverage
    changed: dict[str, float]
    report: bool = False
    note: str = ""


def html(name: str, entries: Sequence[Entry]) -> str:
    """The page; each run's folder lies in its entry's."""
    count = total(entry.coverage for entry in entries)
    folders = sum(len(entry.changed) for entry in entries)
    facts = [("sweeps", f"{len(entries):,}"), ("run folders", f"{folders:,}"), ("jobs", f"{count.total:,}")]
    body = [
        f'<header><p class="eyebrow">advarch report of a folder</p><h1>{escape(printable(name))}</h1>'
        f"{pairs(facts)}{bar(count)}{legend(count)}</header>",
        _listing("Sweeps", "robustwrn", SWEEP_HEADS, [_sweep(entry) for entry in entries]),
        _listing(
            "Runs", "trades failed", RUN_HEADS, [_run(r, entry) for entry in entries for r in entry.runs]
        ),
        "<footer>Robust is the lowest accuracy over the attacks of an evaluation that saw every image, at the best epoch where it was "
        "evaluated. Missing is what the list of jobs in the runs' configs has and the folder has not.</footer>",
    ]
    return document(printable(name), body)


def total(counts: Iterable[Coverage]) -> Coverage:
    """All of them together."""
    counts = list(counts)
    return Coverage(*(sum(getattr(count, field.name) for count in counts) for field in fields(Coverage)))


def numbers(run: RunRecord) -> tuple[AttackResult | None, AttackResult | None]:
    """Clean accuracy and the worst over the attacks that saw every image, of the best checkpoint or the first there is."""
    record = run.evaluations.get("best") or next(iter(run.evaluations.values()), None)
    clean = record.result("clean") if record else None
    if record is None or clean is None or not clean.total:
        return None, None
    attacks = [r for r in record.results if r is not clean and "@" not in r.name and r.total == clean.total]
    return clean, min(attacks, key=lambda result: result.accuracy, default=None)


def _listing(title: str, example: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col"{"" if name in WORDS else NUM}>{name}</th>' for name in heads)
    body = "\n".join(_row(heads, row) for row in rows)
    table = f'<table class="rows long"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{table}</div>'
    return f'<section class="listing"><h2>{title}</h2>{controls(example)}{box}</section>'


NUM = ' class="num"'


def _row(heads: Sequence[str], row: Sequence[Cell]) -> str:
    keys = escape(json.dumps([key for _, key in row]))
    first, *rest = (cell for cell, _ in row)
    cells = "".join(
        f"<td{'' if name in WORDS else NUM}>{cell}</td>" for name, cell in zip(heads[1:], rest, strict=True)
    )
    return f'<tr data-keys="{keys}"><th scope="row">{first}</th>{cells}</tr>'


def _sweep(entry: Entry) -> list[Cell]:
    count = entry.coverage
    found = [(run, numbers(run)) for run in entry.runs if run.state == "done"]
    top = max(
        ((r, c, a) for r, (c, a) in found if c and a), key=lambda each: each[2].accuracy, default=(None,) * 3
    )
    run, clean, robust = top
    name = escape(printable(entry.path))
    way = f'<a href="{escape(quote(f"{entry.path}/report.html"))}">{name}</a>' if entry.report else name
    note = f'<span class="note mark">{escape(printable(entry.note))}</span>' if entry.note else ""
    title = f'<span class="note">{escape(printable(entry.title))}</span>' if entry.title else ""
    return [
        (way + title + note, entry.path),
        (bar(count), count.done / max(1, count.total)),
        (f"{count.done:,} of {count.total:,}", count.done),
        *((f"{number:,}", number) for number in (count.failed, count.missing, count.flagged)),
        _percent(robust, _way(run, entry) if run else ""),
        _percent(clean),
        _date(max(entry.changed.values(), default=None)),
    ]  # fmt: skip


def _run(run: RunRecord, entry: Entry) -> list[Cell]:
    clean, robust = numbers(run)
    raised = [flag for record in run.evaluations.values() for flag in record.flags if flag not in TABLE_WIDE]
    raised += [f for record in run.evaluations.values() for result in record.results for f in result.flags]
    flags = printable(", ".join(dict.fromkeys(raised)))
    said = [line for line in run.error.splitlines() if line.strip()]
    error = f'<span class="note">{escape(printable(said[-1]))}</span>' if said else ""
    return [
        (_link(run, entry), run.name),
        (escape(printable(entry.path)), entry.path),
        (f'<span class="badge is-{run.state}">{run.state}</span>{error}', run.state),
        _percent(clean),
        _percent(robust),
        (escape(printable(robust.name)) if robust else "", robust.name if robust else None),
        (f'<span class="mark">{escape(flags)}</span>' if flags else "", flags or None),
        _date(entry.changed.get(run.name)),
    ]


def _way(run: RunRecord, entry: Entry) -> str:
    """The path of a run's page, empty where there is no folder."""
    there = run.name in entry.changed
    return escape(quote(f"{entry.path}/{run.name}/{PAGE}")) if there else ""


def _link(run: RunRecord, entry: Entry) -> str:
    name, way = escape(printable(run.name)), _way(run, entry)
    return f'<a href="{way}">{name}</a>' if way else f'<span class="absent">{name}</span>'


def _percent(result: AttackResult | None, way: str = "") -> Cell:
    if result is None:
        return "–", None
    number = 100 * result.accuracy
    return (f'<a href="{way}">{number:.2f}</a>' if way else f"{number:.2f}"), number


def _date(seconds: float | None) -> Cell:
    return ("", None) if seconds is None else (time.strftime("%Y-%m-%d", time.localtime(seconds)), seconds)
