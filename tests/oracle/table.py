"""The truth about a small space: every cell trained adversarially and attacked, once per seed, as a table in the repository."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from advarch.cli.compose import planned_jobs
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.genotype.line import to_line
from advarch.genotype.published import resolve
from advarch.genotype.space import Space
from advarch.records import RunRecord

SWEEP = "search/digits_truth"
TABLE = Path(__file__).parent / "digits_truth.csv"
COLUMNS = ("genotype", "seed", "parameters", "clean", "robust")

SPACE = Space(
    ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"),
    nodes=2,
    inputs=1,
    layout="shared",
)
"""96 cells: two nodes, each of which reads one earlier node through one of four operations."""


@dataclass(frozen=True)
class Trained:
    """A cell, its network's parameters, and its accuracies on the test images, in [0, 1]."""

    genotype: str
    seed: int
    parameters: int
    clean: float
    robust: float


def of_runs(records: Iterable[RunRecord]) -> list[Trained]:
    """The rows that finished runs give, in the order of the runs."""
    return [_row(record) for record in records if record.state == "done"]


def _row(record: RunRecord) -> Trained:
    evaluation = record.evaluations["last"]
    found = {result.name: result.accuracy for result in evaluation.results}
    assert record.size is not None
    return Trained(
        to_line(resolve(record.config["backbone"]["genotype"])),
        record.config["seed"],
        record.size.parameters,
        found["clean"],
        found["pgd20"],
    )


def collected(*overrides: str) -> list[Trained]:
    """The rows of the sweep's runs, of other seeds with `seed=0,1,2`.

    Raises:
        InputError: some are not finished.
    """
    jobs = planned_jobs([f"+sweep={SWEEP}", *overrides])
    records = [job.folder.record(job.config) for job in jobs]
    rows = of_runs(records)
    if len(rows) < len(jobs):
        raise InputError(
            f"truth: expected {len(jobs)} finished runs, came {len(rows)}; run advarch -m +sweep={SWEEP}"
        )
    return rows


def write(rows: Sequence[Trained], path: Path = TABLE) -> Path:
    """Write the table whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        table.writerow([row.genotype, row.seed, row.parameters, f"{row.clean:.4f}", f"{row.robust:.4f}"])
    return write_atomic(path, text.getvalue())


def read(path: Path = TABLE) -> list[Trained]:
    """The table in a file. Raises InputError where there is none."""
    if not path.is_file():
        raise InputError(
            f"truth: expected the table {path.name}, came none; make truth writes it from its sweep"
        )
    with path.open(newline="") as file:
        return [
            Trained(
                row["genotype"],
                int(row["seed"]),
                int(row["parameters"]),
                float(row["clean"]),
                float(row["robust"]),
            )
            for row in csv.DictReader(file)
        ]


def robustness(rows: Iterable[Trained]) -> dict[str, float]:
    """Robust accuracy of each cell, the mean over its seeds; cells by the digest of their genotype."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(resolve(row.genotype).digest, []).append(row.robust)
    return {digest: mean(values) for digest, values in found.items()}
