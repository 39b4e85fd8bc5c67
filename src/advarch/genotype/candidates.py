"""candidates.csv: the judged candidates of a search, how each is wired and how accurate it turned out."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.genotype import measures, stored
from advarch.genotype.cell import Genotype
from advarch.genotype.space import Space

FILE = "candidates.csv"

OPTIONAL = ("inherited", "flow")
"""Columns that a search measures only where it is asked to."""

COLUMNS = (
    "name",
    "genotype",
    "density",
    "convolutions",
    "direct_convolutions",
    "parameters",
    "clean",
    "robust",
)


@dataclass(frozen=True)
class Candidate:
    """A genotype and what a search found of it; a row of the table.

    Args:
        genotype: written as the JSON that `stored` reads, on one line.
        density: RobNet Eq. 2, the mean over its cells.
        convolutions, direct_convolutions: of a cell, and of its edges (i, i + 1): means over its cells.
        parameters: of the network that was judged.
        clean, robust: accuracies in [0, 1] on validation images.
        inherited: robust accuracy with the weights inherited from the supernet, before any training; None: not asked for.
        flow: FSP distance of every cell (RobNet Eq. 4), from the input on; empty: not asked for.
    """

    genotype: Genotype
    density: float
    convolutions: float
    direct_convolutions: float
    parameters: int
    clean: float
    robust: float
    inherited: float | None = None
    flow: tuple[float, ...] = ()


def candidate(
    space: Space,
    genotype: Genotype,
    *,
    parameters: int,
    clean: float,
    robust: float,
    inherited: float | None = None,
    flow: Sequence[float] = (),
) -> Candidate:
    """A row from a judged genotype of a space."""
    return Candidate(
        genotype,
        measures.mean_density(genotype, space.at_once),
        mean(map(measures.convolutions, genotype.cells)),
        mean(map(measures.direct_convolutions, genotype.cells)),
        parameters,
        clean,
        robust,
        inherited,
        tuple(flow),
    )


def write(rows: Sequence[Candidate], path: Path) -> Path:
    """Write the table whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    optional = [name for name in OPTIONAL if any(getattr(row, name) not in (None, ()) for row in rows)]
    table.writerow([*COLUMNS, *optional])
    for row in rows:
        values = [getattr(row, column) for column in COLUMNS[2:]]
        more = [json.dumps(getattr(row, name)) for name in optional]
        table.writerow([row.genotype.name, json.dumps(stored.to_plain(row.genotype)), *values, *more])
    return write_atomic(path, text.getvalue())


def read(path: Path) -> list[Candidate]:
    """The table in a file; columns that aren't its own are passed over. Raises InputError, which names the file and the row."""
    try:
        table = csv.DictReader(io.StringIO(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"candidates: expected a table, came {path} ({error})") from None
    missing = [column for column in COLUMNS if column not in (table.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, came none of {', '.join(missing)}"
        )
    return [_row(f"{path}, row {number}", row) for number, row in enumerate(table, 1)]


def _row(where: str, row: dict[str, str]) -> Candidate:
    try:
        genotype = stored.from_plain(json.loads(row["genotype"]))
        density, convolutions, direct, parameters, clean, robust = (float(row[name]) for name in COLUMNS[2:])
        inherited, flow = json.loads(row.get("inherited") or "null"), json.loads(row.get("flow") or "[]")
        measured = (None if inherited is None else float(inherited), tuple(map(float, flow)))
    except (InputError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: expected a genotype as JSON and numbers, came another thing ({error})"
        ) from None
    return Candidate(genotype, density, convolutions, direct, int(parameters), clean, robust, *measured)
