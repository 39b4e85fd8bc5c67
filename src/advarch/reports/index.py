"""The page of a whole folder: its sweeps with how much of each is there, every run, and evaluations of given networks."""

import time
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from advarch.reports.listed import Entry, Line, tally, total
from advarch.reports.listing import Cell, badge, listing, note, percent
from advarch.reports.page_frame import bar, document, legend
from advarch.reports.page_runs import PAGE, pairs
from advarch.reports.rows import printable

SWEEP_HEADS = (
    *("sweep", "coverage", "done", "failed", "missing", "flagged"),
    *("best robust (%)", "clean (%)", "last change"),
)
RUN_HEADS = ("run", "sweep", "state", "clean (%)", "robust (%)", "against", "flags", "last change")
GIVEN_HEADS = ("evaluation", "checkpoint", *RUN_HEADS[2:])
WORDS = (
    *("sweep", "run", "coverage", "state", "against", "flags", "last change"),
    *("evaluation", "checkpoint"),
)
"""Heads of columns that hold no numbers."""

LONGEST = 44
"""Characters of a folder's name that are shown: its beginning and its digest."""


def html(name: str, entries: Sequence[Entry], runs_of: Mapping[str, str]) -> str:
    """The page; each run's folder lies in its entry's. `runs_of`: the path of the run whose folder holds a given checkpoint."""
    sweeps = [entry for entry in entries if not entry.given]
    count = total(entry.coverage for entry in sweeps)
    folders = sum(line.changed is not None for entry in sweeps for line in entry.lines)
    given = [(line, entry) for entry in entries if entry.given for line in entry.lines]
    facts = [("sweeps", f"{len(sweeps):,}"), ("run folders", f"{folders:,}"), ("jobs", f"{count.total:,}")]
    candidates = sum(sum(entry.candidates.values()) for entry in sweeps)
    facts += [("candidates", f"{candidates:,}")] if candidates else []
    facts += [("other evaluations", f"{len(given):,}")] if given else []
    runs = [(line, entry) for entry in sweeps for line in entry.lines]
    body = [
        f'<header><p class="eyebrow">advarch report of a folder</p><h1>{escape(printable(name))}</h1>'
        f"{pairs(facts)}{bar(count)}{legend(count)}</header>",
        listing("Sweeps", "robustwrn", SWEEP_HEADS, WORDS, [_sweep(entry) for entry in sweeps]),
        listing("Runs", "trades failed", RUN_HEADS, WORDS, [_run(*each) for each in runs]),
        listing(
            "Evaluations by advarch attack",
            "my_net",
            GIVEN_HEADS,
            WORDS,
            [_given(*each, runs_of) for each in given],
        ),
        "<footer>Robust is the lowest accuracy over the attacks of an evaluation that saw every image, at the best epoch where it was "
        "evaluated. Missing is what the list of jobs in the runs' configs has and the folder has not. The candidates of a search are "
        "listed on its page.</footer>",
    ]
    return document(printable(name), body)


def short(name: str) -> str:
    """A long name by its beginning and its digest."""
    name = printable(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}…{name[-8:]}"


def _sweep(entry: Entry) -> list[Cell]:
    count = entry.coverage
    found = [line for line in entry.lines if line.state == "done" and line.robust is not None]
    top = max(found, key=lambda line: line.robust or 0.0, default=None)
    name = escape(printable(entry.path))
    way = f'<a href="{escape(quote(f"{entry.path}/report.html"))}">{name}</a>' if entry.report else name
    notes = note(printable(entry.title)) + note(tally([entry.candidates]))
    return [
        (way + notes + note(printable(entry.note), "note mark"), entry.path),
        (bar(count), count.done / max(1, count.total)),
        (f"{count.done:,} of {count.total:,}", count.done),
        *((f"{number:,}", number) for number in (count.failed, count.missing, count.flagged)),
        percent(top.robust, _way(top, entry)) if top else percent(None),
        percent(top.clean if top else None),
        _date(max((line.changed for line in entry.lines if line.changed is not None), default=None)),
    ]  # fmt: skip


def _run(line: Line, entry: Entry) -> list[Cell]:
    said = note(printable(line.label)) if len(line.name) > LONGEST else ""
    return [(_link(line, entry) + said, line.name), (escape(printable(entry.path)), entry.path), *_rest(line)]


def _given(line: Line, entry: Entry, runs_of: Mapping[str, str]) -> list[Cell]:
    """An evaluation of a given network; its checkpoint a link where that is a run's."""
    checkpoint, run = escape(printable(line.weights)), runs_of.get(line.weights)
    way = f'<a href="{escape(quote(f"{run}/{PAGE}"))}">{checkpoint}</a>' if run else checkpoint
    return [(_link(line, entry), line.name), (way + note(printable(line.label)), line.weights), *_rest(line)]


def _rest(line: Line) -> list[Cell]:
    flags = printable(", ".join(line.flags))
    return [
        (badge(line.state) + note(printable(line.error)), line.state),
        percent(line.clean),
        percent(line.robust),
        (escape(printable(line.against)), line.against or None),
        (note(flags, "mark"), flags or None),
        _date(line.changed),
    ]


def _way(line: Line, entry: Entry) -> str:
    """The path of a run's page, empty where there is no folder."""
    return escape(quote(f"{entry.path}/{line.name}/{PAGE}")) if line.changed is not None else ""


def _link(line: Line, entry: Entry) -> str:
    whole, way = escape(printable(line.name)), _way(line, entry)
    name = escape(short(line.name)) if way else whole
    return f'<a href="{way}" title="{whole}">{name}</a>' if way else f'<span class="absent">{name}</span>'


def _date(seconds: float | None) -> Cell:
    return (
        ("", None)
        if seconds is None
        else (f"<time>{time.strftime('%Y-%m-%d', time.localtime(seconds))}</time>", seconds)
    )
