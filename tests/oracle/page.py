"""Where the cells that searches find stand among all cells: the end of docs/methods/oracle.md, written from finished runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from advarch.cli.compose import planned_jobs
from advarch.genotype import candidates, stored
from advarch.genotype.stored import FILE
from advarch.records import RunRecord
from tests.oracle.ranks import Truth, agreement, best_of, covers, ranks
from tests.oracle.table import Trained, read, robustness

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/methods/oracle.md"
SWEEP = "search/digits_found"
HEADING = "## Searches against the truth\n"


@dataclass
class Found:
    """What the runs of one search chose: digests of cells, Kendall's tau where all cells were ranked, seeds that are missing."""

    cells: list[str] = field(default_factory=list)
    taus: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)


def page() -> str:
    """docs/methods/oracle.md with its end written anew."""
    jobs = planned_jobs([f"+sweep={SWEEP}"])
    rows = read()
    found = gathered([job.folder.record(job.config) for job in jobs], robustness(rows))
    return PAGE.read_text().partition(HEADING)[0] + section(rows, found)


def gathered(records: Sequence[RunRecord], truth: Truth) -> dict[str, Found]:
    """What each search found, by the name that its sweep gives it."""
    searches: dict[str, Found] = {}
    for record in records:
        found = searches.setdefault(record.config["sweep"]["method"], Found())
        folder = Path(record.folder)
        if not (folder / FILE).is_file():
            found.missing.append(record.config["seed"])
            continue
        found.cells.append(stored.read(folder / FILE).digest)
        if (folder / candidates.FILE).is_file():
            judged = candidates.read(folder / candidates.FILE)
            if covers(judged, truth):
                found.taus.append(agreement(judged, truth))
    return searches


def section(rows: Sequence[Trained], searches: dict[str, Found]) -> str:
    """The table, what random choice would give above it."""
    truth = robustness(rows)
    seeds = sorted({row.seed for row in rows})
    best, middle = max(truth.values()), mean(truth.values())
    lines = [
        HEADING,
        f"{len(truth)} cells, trained with {_seeds(seeds)}. The best keeps {best:.1%} of the test images under PGD-20, "
        f"the mean of all is {middle:.1%}. A rank is among all cells, 1 the most robust; mean and extremes over the seeds that "
        "are there. Tau: Kendall's, between the search's own ranking of all cells and the truth.",
        "",
        "| search | seeds | rank of its cell | robust accuracy of its cell | tau | missing |",
        "|---|---|---|---|---|---|",
        f"| one cell at random | expected | {best_of(truth, 1):.1f} | {middle:.1%} | | |",
        f"| the best of ten at random | expected | {best_of(truth, 10):.1f} | | | |",
        *(_row(name, found, truth) for name, found in searches.items()),
        "",
    ]
    return "\n".join(lines)


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _row(name: str, found: Found, truth: Truth) -> str:
    missing = _seeds(found.missing) if found.missing else ""
    if not found.cells:
        return f"| {name} | 0 | | | | {missing} |"
    place = ranks(truth)
    places = [place[digest] for digest in found.cells]
    tau = f"{mean(found.taus):.2f} ({min(found.taus):.2f} to {max(found.taus):.2f})" if found.taus else ""
    robust = mean(truth[digest] for digest in found.cells)
    where = f"{mean(places):.1f} ({min(places)} to {max(places)})"
    return f"| {name} | {len(places)} | {where} | {robust:.1%} | {tau} | {missing} |"
