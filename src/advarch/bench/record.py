"""A whole bench as JSON: machine, rows, and where it ended."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from advarch.bench.row import Row
from advarch.bench.targets import Verdict, verdicts
from advarch.errors import InputError

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """What was measured on what.

    device: cpu or cuda.
    flags: instructions of the CPU, of `machine.FLAGS`.
    machine: more of it, in words.
    """

    device: str
    quick: bool
    flags: Sequence[str]
    machine: Mapping[str, str]
    seconds: float
    rows: Sequence[Row]

    @property
    def verdicts(self) -> list[Verdict]:
        """The targets; none where everything is small."""
        return [] if self.quick else list(verdicts(self.rows, self.device, self.flags))


def dump(record: Record) -> str:
    """As JSON, with the verdicts for who reads it without us."""
    said = [
        {"row": verdict.row, "asked": verdict.target.words, "verdict": verdict.words}
        for verdict in record.verdicts
    ]
    return json.dumps({"schema": SCHEMA} | asdict(record) | {"verdicts": said}, indent=2) + "\n"


def read(path: Path) -> Record:
    """The same from a file.

    Raises:
        InputError: no such file, or none of a bench.
    """
    try:
        found = json.loads(path.read_text())
        rows = [Row(**(row | {"notes": tuple(row["notes"])})) for row in found["rows"]]
        known = {name: found[name] for name in ("device", "quick", "flags", "machine", "seconds")}
        return Record(rows=rows, **known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected what `advarch bench` wrote, came {type(error).__name__}; run it again"
        ) from None
