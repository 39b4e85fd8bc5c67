"""A search's candidates on the page of its run: how each is wired, how large and how accurate it is, and the way to its page."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from advarch.errors import InputError
from advarch.genotype import candidates, stored
from advarch.genotype.candidates import Candidate
from advarch.genotype.cell import Genotype
from advarch.records import RunRecord
from advarch.reports.genotype_text import text
from advarch.reports.listing import Cell, badge, listing, percent
from advarch.reports.page_runs import PAGE
from advarch.reports.rows import printable

FOLDER = "candidates"
"""Where in a run's folder those of its candidates lie."""

HEADS = ("candidate", "cells", "state", "parameters", "clean (%)", "robust (%)")
WORDS = HEADS[:3]


def section(folder: Path, runs: Sequence[RunRecord]) -> str:
    """The judged candidates of the search in `folder`, the best first, and those of `runs` that are not judged (yet)."""
    damage, judged = "", list[Candidate]()
    try:
        judged = candidates.read(folder / candidates.FILE) if (folder / candidates.FILE).is_file() else []
    except InputError as error:
        damage = f'<p class="mark">{escape(printable(str(error)))}</p>'
    rows = [*_rows(judged, {run.name: run for run in runs})]
    title = "Candidates, on the validation images"
    return listing(title, "failed", HEADS, WORDS, rows) + damage


def _rows(judged: Sequence[Candidate], runs: Mapping[str, RunRecord]) -> Iterator[list[Cell]]:
    names = {f"{one.genotype.name}-{one.genotype.digest}": one for one in judged}
    for name, one in names.items():
        # One that is judged with the weights it inherits is never trained, and has no folder.
        state = runs[name].state if name in runs else "done"
        yield _row(name, one.genotype, state, one.parameters, one.clean, one.robust, there=name in runs)
    for name, run in runs.items():
        if name not in names:
            last = run.curves[-1] if run.curves and run.state == "done" else {}
            accuracies = last.get("val_clean"), last.get("val_robust")
            size = run.size.parameters if run.size else None
            yield _row(name, _genotype(run), run.state, size, *accuracies, there=True)


def _row(
    name: str,
    genotype: Genotype | None,
    state: str,
    parameters: int | None,
    clean: float | None,
    robust: float | None,
    *,
    there: bool,
) -> list[Cell]:
    shown = escape(printable(name))
    way = escape(quote(f"{FOLDER}/{name}/{PAGE}"))
    wired = "\n".join(map(printable, text(genotype).splitlines())) if genotype else ""
    return [
        (f'<a href="{way}">{shown}</a>' if there else shown, name),
        (f'<pre class="note">{escape(wired)}</pre>', wired),
        (badge(state), state),
        ("–", None) if parameters is None else (f"{parameters:,}", parameters),
        percent(clean),
        percent(robust),
    ]


def _genotype(run: RunRecord) -> Genotype | None:
    try:
        return stored.from_plain((run.config.get("backbone") or {}).get("genotype"))
    except (InputError, AttributeError):
        return None
