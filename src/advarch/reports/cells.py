"""One cell of a table: a number and how well it is known, or the reason why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from advarch.evaluation.sanity import TABLE_WIDE
from advarch.records import AttackResult
from advarch.reports.columns import ANALYSIS, Column
from advarch.reports.estimate import Estimate, accuracy, mean
from advarch.reports.rows import Group, label, lookup, printable, sort_key

CellState = Literal["done", "partial", "missing", "running", "interrupted", "failed"]
"""partial: the mean over some of the row's seeds only."""

WORST_FIRST = ("failed", "interrupted", "running", "missing")


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, the raw value (None when there is none), what it sorts by (None: last).

    `note` is the secondary text (an interval, a spread over seeds), `marks` point to footnotes.
    """

    text: str
    value: float | str | None = None
    key: float | str | None = None
    state: CellState = "done"
    note: str = ""
    marks: str = ""
    estimate: Estimate | None = None


def value_of(group: Group, column: Column, checkpoint: str) -> tuple[Estimate | None, tuple[str, ...]]:
    """A row's number in that column, None when no job has it yet, and the flags that its evaluations raised.

    What holds for the whole table (few images) is no flag here: it is said once, below.
    """
    if column.get is not None:
        values = [value for run in group.runs if (value := column.get(run, checkpoint)) is not None]
        return (mean(values) if values else None), ()
    results: list[AttackResult] = []
    flags: dict[str, None] = {}
    for run in group.runs:
        record = run.evaluations.get(checkpoint)
        result = record.result(column.id) if record else None
        if record and result and result.total:
            results.append(result)
            flags |= dict.fromkeys(f for f in (*record.flags, *result.flags) if f not in TABLE_WIDE)
    return (accuracy(results) if results else None), tuple(flags)


def cell(group: Group, column: Column, checkpoint: str, marks: Mapping[str, str]) -> Cell:
    if column.id == "seed":
        seeds = [label(lookup(run.config, "seed")) for run in group.runs]
        return Cell(", ".join(seeds), ", ".join(seeds), sort_key(lookup(group.runs[0].config, "seed")))
    estimate, flags = value_of(group, column, checkpoint)
    if estimate is None:
        return _absent(group, column)
    whole = estimate.seeds == len(group.runs)
    return Cell(
        text=column.show(estimate.value, more=_more(estimate, column)),
        value=estimate.value,
        key=float(estimate.value),
        state="done" if whole else "partial",
        note=_note(estimate, column, len(group.runs)),
        marks="".join(marks[flag] for flag in flags),
        estimate=estimate,
    )


def _note(estimate: Estimate, column: Column, jobs: int) -> str:
    notes = []
    if estimate.std or (estimate.std is not None and column.get is None):
        notes.append(f"±{column.show(estimate.std, more=_more(estimate, column))}")
    if estimate.low is not None and estimate.high is not None:
        notes.append(f"{column.show(estimate.low)}–{column.show(estimate.high)}")
    if estimate.seeds < jobs:
        notes.append(f"{estimate.seeds} of {jobs} seeds")
    return ", ".join(notes)


def _more(estimate: Estimate, column: Column) -> int:
    """One decimal more where whole numbers (epochs, images per second) that differ were averaged."""
    return 1 if column.decimals == 0 and estimate.std else 0


def _absent(group: Group, column: Column) -> Cell:
    """A cell without a number says why, after its worst job."""
    run = min(group.runs, key=lambda run: WORST_FIRST.index(run.state) if run.state in WORST_FIRST else 9)
    if run.state == "failed":
        lines = [printable(line) for line in run.error.splitlines() if line.strip()]
        return Cell(f"failed: {lines[-1]}" if lines else "failed", state="failed")
    if run.state == "running":
        progress = run.progress
        if progress is None or progress.total <= 0:
            return Cell("running", state="running")
        share = 100 * progress.step // progress.total
        note = f"{printable(progress.stage)}, {printable(progress.unit)} {progress.step} of {progress.total}"
        return Cell(f"running {share} %", state="running", note=note)
    if run.state == "interrupted":
        return Cell("interrupted", state="interrupted", note="run again to resume")
    where = "analysis" if column.id.startswith(ANALYSIS) else "evaluation"
    note = f"not in the {where}" if run.state == "done" else ""
    return Cell("missing", state="missing", note=note)


def say_once(cells: Sequence[Cell]) -> list[Cell]:
    """An error's text or a progress once in a row; the cells after it only name the state."""
    said: set[str] = set()
    short = []
    for cell in cells:
        again = cell.state in ("failed", "running", "interrupted") and cell.text in said
        said.add(cell.text)
        short.append(Cell(cell.state, state=cell.state) if again else cell)
    return short
