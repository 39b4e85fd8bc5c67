"""The tables that a run holds, as columns that figures draw: a search's epochs and candidates, what a measure found by place."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from advarch.errors import InputError
from advarch.genotype import candidates, stored
from advarch.genotype.candidates import Candidate
from advarch.genotype.cell import Genotype
from advarch.genotype.published import resolve
from advarch.genotype.stored import FILE, SEARCHED
from advarch.records import RunRecord
from advarch.reports.candidate_study import STATISTICS, statistic
from advarch.reports.columns import ANALYSIS
from advarch.reports.rows import lookup
from advarch.reports.shape import nearest

Table = Mapping[str, Sequence[Any]]

HEADINGS = {
    "epoch": "epoch",
    "train_accuracy": "training, adversarial",
    "val_clean": "validation, clean",
    "val_robust": "validation, adversarial",
    "density": "architecture density",
    "convolutions": "all convolutions",
    "direct_convolutions": "on direct edges",
    "skip_convolutions": "on skip edges",
    "direct_share": "share of the convolutions on direct edges",
    "parameters": "parameters",
    "rank": "architecture, the most robust first",
    "clean": "clean accuracy",
    "robust": "robust accuracy",
    "inherited": "robust accuracy before fine-tuning",
    "gap": "clean less robust accuracy",
    "block": "block",
    "constant": "empirical Lipschitz constant",
    "alpha": "α",
    "beta": "β",
    "loss": "loss",
}
"""What a column is called in a figure."""

ACCURACIES = ("train_accuracy", "val_clean", "val_robust", "clean", "robust", "inherited")

PERCENT = (*ACCURACIES, "gap")
"""Columns in [0, 1] that are drawn as percent."""


def heading(column: str) -> str:
    """What a column is called: one of `HEADINGS`, `cell 3` of flow_3, else its own words."""
    flow = re.fullmatch(r"flow_(\d+)", column)
    return f"cell {flow[1]}" if flow else HEADINGS.get(column, column.replace("_", " "))


def table(run: RunRecord, name: str, checkpoint: str) -> Table:
    """The columns of one of a run's tables, percent where they are shares; no columns where the run does not have it yet.

    Raises:
        InputError: no such table, or a damaged one.
    """
    if name == "search":
        found: Table = _columns(run.searched)
    elif name == "candidates":
        found = _candidates(run)
    elif name.startswith(ANALYSIS):
        record = run.analyses.get(checkpoint)
        result = record.results.get(name.removeprefix(ANALYSIS)) if record else None
        found = result.table if result and not result.skipped else {}
    else:
        raise InputError(
            f"expected sweep.figure.table to be search, candidates or {ANALYSIS}MEASURE, came '{name}'; "
            f"{nearest(name, ('search', 'candidates', ANALYSIS))}"
        )
    return {key: [_scaled(key, value) for value in column] for key, column in _counted(found).items()}


def judged(run: RunRecord) -> list[Candidate]:
    """The candidates of a run's search, none where it has not judged them yet."""
    path = Path(run.folder) / candidates.FILE
    return candidates.read(path) if run.folder and path.is_file() else []


def cells(run: RunRecord) -> Genotype | None:
    """The cells that a run's search has found, else those that its config names; None of a network without cells.

    Raises:
        InputError: a damaged file, or a name of no genotype.
    """
    found = Path(run.folder) / FILE
    if run.folder and found.is_file():
        return stored.read(found)
    named = lookup(run.config, "backbone.genotype")
    if isinstance(named, dict):
        return stored.from_plain(named)
    return resolve(named) if isinstance(named, str) and named != SEARCHED else None


def _candidates(run: RunRecord) -> Table:
    found = sorted(judged(run), key=lambda one: -one.robust)
    if not found:
        return {}
    columns: dict[str, Sequence[Any]] = {
        name: [statistic(one, name) for one in found] for name in STATISTICS
    } | {
        "rank": range(1, len(found) + 1),
        "clean": [one.clean for one in found],
        "robust": [one.robust for one in found],
        "gap": [one.clean - one.robust for one in found],
        "inherited": [one.inherited for one in found],
    }
    flows = {f"flow_{place}": [one.flow[place] for one in found] for place in range(len(found[0].flow))}
    return {**columns, **flows}


def _columns(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows, which need not have the same keys, as columns."""
    rows = list(rows)
    return {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}


def _counted(found: Table) -> Table:
    """Blocks by number from 1, as papers count them, in place of their modules' names; the network keeps its own."""
    if "block" not in found:
        return found
    blocks = [name if name == "network" else str(place) for place, name in enumerate(found["block"], 1)]
    return {**found, "block": blocks}


def _scaled(key: str, value: Any) -> Any:
    if value is None:
        return math.nan
    return 100 * value if key in PERCENT else value
