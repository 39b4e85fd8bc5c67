"""What a paper prints, as a sweep's `published` holds it: a line for each printed row, beside which ours are set."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advarch.errors import InputError
from advarch.reports.rows import Group
from advarch.reports.shape import Shape, nearest

WORDS = ("row", "checkpoint", "source", "note", "run")
"""Keys of a line that are no columns."""

UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}

_PART = re.compile(r"[~<>]?([\d,.]+)([kMG]?)")


@dataclass(frozen=True)
class Printed:
    """A number as the paper prints it, its value, and its deviation where one is printed."""

    text: str
    value: float
    std: float | None = None


@dataclass(frozen=True)
class Line:
    """A printed row: the labels of the sweep's row that it stands beside, its checkpoint, its numbers by column.

    `run` is false for a row that nobody can repeat (an unpublished cell): it stands alone.
    """

    labels: tuple[str, ...]
    checkpoint: str
    numbers: Mapping[str, Printed]
    source: str
    note: str = ""
    run: bool = True


def read_published(sweep: Mapping[str, Any], shape: Shape) -> tuple[Line, ...]:
    """The printed rows of a sweep, from its resolved mapping.

    Raises:
        InputError: no list, a column that the table does not have, a number that is none, a line twice, or one without a source.
    """
    entries = sweep.get("published") or []
    if not isinstance(entries, list | tuple):
        raise InputError(
            f"sweep.published: expected a list of printed rows, came {entries!r}; write [] where nothing is printed"
        )
    lines = tuple(_line(entry, number, sweep, shape) for number, entry in enumerate(entries))
    seen: set[tuple[tuple[str, ...], str]] = set()
    for number, line in enumerate(lines):
        if (line.labels, line.checkpoint) in seen:
            came = ", ".join(line.labels)
            raise InputError(f"sweep.published[{number}]: expected each row once, came {came} twice")
        seen.add((line.labels, line.checkpoint))
    return lines


def by_row(
    sweep: Mapping[str, Any], shape: Shape, checkpoint: str
) -> dict[tuple[str, ...], Mapping[str, Printed]]:
    """The printed numbers at a checkpoint, by a row's labels and by column."""
    return {
        line.labels: line.numbers for line in read_published(sweep, shape) if line.checkpoint == checkpoint
    }


def unmatched(lines: Sequence[Line], groups: Sequence[Group]) -> tuple[Line, ...]:
    """The printed rows that stand beside none of ours: those nobody can repeat, and slips."""
    ours = {group.labels for group in groups}
    return tuple(line for line in lines if line.labels not in ours)


def printed(text: Any) -> Printed:
    """A number such as 54.76, 54.76±0.229, 17.05M, or 46.2M+3.6M (a network and what is put beside it).

    Raises:
        InputError: it is none.
    """
    if isinstance(text, int | float) and not isinstance(text, bool) and math.isfinite(text):
        return Printed(f"{text:.2f}" if isinstance(text, float) else f"{text:,}", float(text))
    whole, _, spread = str(text).partition("±")
    parts = [_PART.fullmatch(part.strip()) for part in whole.split("+")]
    try:
        value = sum(float(part[1].replace(",", "")) * UNITS[part[2]] for part in parts if part)
        std = float(spread) if spread else None
    except ValueError:
        parts = [None]
    if not all(parts):
        raise InputError(f"expected a number as printed (54.76, 54.76±0.23, 17.05M), came {text!r}")
    return Printed(str(text), value, std)


def _line(entry: Any, number: int, sweep: Mapping[str, Any], shape: Shape) -> Line:
    where = f"sweep.published[{number}]"
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: expected a row of printed numbers, came {entry!r}")
    row = entry.get("row")
    labels = tuple(str(word) for word in (row if isinstance(row, list) else [row]))
    if row is None or len(labels) != len(shape.rows):
        raise InputError(
            f"{where}.row: expected {len(shape.rows)} labels ({', '.join(shape.rows)}), came {row!r}"
        )
    checkpoint = entry.get("checkpoint") or shape.checkpoints[0]
    if checkpoint not in shape.checkpoints:
        raise InputError(
            f"{where}.checkpoint: expected one of {', '.join(shape.checkpoints)}, came {checkpoint!r}"
        )
    source = entry.get("source") or sweep.get("source")
    if not source:
        raise InputError(
            f"{where}.source: expected where it is printed, came nothing; write it here or in sweep.source"
        )
    for key in entry:
        if key not in (*WORDS, *shape.columns):
            raise InputError(
                f"{where}: expected a column of the table, came {key!r}; {nearest(str(key), shape.columns)}"
            )
    try:
        numbers = {key: printed(value) for key, value in entry.items() if key not in WORDS}
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Line(
        labels, checkpoint, numbers, str(source), str(entry.get("note") or ""), bool(entry.get("run", True))
    )
