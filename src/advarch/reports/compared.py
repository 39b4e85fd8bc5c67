"""Published numbers beside our own: which columns get them, the cells, and the rows that only the paper has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advarch.reports.cells import Cell
from advarch.reports.columns import Column
from advarch.reports.published import Line, Printed, read_published, unmatched
from advarch.reports.rows import Group
from advarch.reports.shape import Shape

DIGITS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Compared:
    """A sweep's printed rows beside its table. `beside`: the columns that they have numbers in; `scale`: of the runs.

    A difference is ours minus the paper's, for accuracies in points; at another scale than the paper's there is none.
    """

    lines: Mapping[tuple[tuple[str, ...], str], Line]
    beside: frozenset[str]
    unmatched: tuple[Line, ...]
    marks: Mapping[str, str]
    sentences: tuple[str, ...]
    scale: str

    def headings(self, column: Column) -> list[tuple[str, str]]:
        """Id and heading of each column that a column becomes: published, ours, difference."""
        own = (column.id, column.heading)
        if column.id not in self.beside:
            return [own]
        found = [(f"{column.id}_published", f"{column.title} published"), own]
        return [*found, (f"{column.id}_difference", "difference")] if self._differs(column) else found

    def cells(self, column: Column, own: Cell, labels: tuple[str, ...], checkpoint: str) -> list[Cell]:
        """The cells of a row in these columns."""
        if column.id not in self.beside:
            return [own]
        line = self.lines.get((labels, checkpoint))
        number = line.numbers.get(column.id) if line else None
        found = [self._printed(number, line), own]
        return [*found, _difference(number, own)] if self._differs(column) else found

    def alone(self, line: Line, shape: Shape, columns: Sequence[Column]) -> tuple[Cell, ...]:
        """The cells of a row that only the paper has."""
        why = "not run" if line.run else "can't be run"
        labels = [Cell(label, label, label) for label in line.labels]
        point = Cell(line.checkpoint, line.checkpoint, float(shape.checkpoints.index(line.checkpoint)))
        own = Cell(why, state="missing")
        numbers = [c for column in columns for c in self.cells(column, own, line.labels, line.checkpoint)]
        return (*labels, point, *numbers)

    def _differs(self, column: Column) -> bool:
        return column.get is None and self.scale == "paper"

    def _printed(self, number: Printed | None, line: Line | None) -> Cell:
        if number is None or line is None:
            return Cell("–")
        return Cell(number.text, number.value, number.value, marks=self.marks.get(line.note, ""))


def compared(
    sweep: Mapping[str, Any], shape: Shape, columns: Sequence[Column], groups: Sequence[Group]
) -> Compared:
    """The printed rows of a sweep, made ready for its table.

    Raises:
        InputError: a printed row is not as `read_published` wants it.
    """
    lines = read_published(sweep, shape)
    notes = dict.fromkeys(line.note for line in lines if line.note)
    choices = [run.config.get("choices") or {} for group in groups for run in group.runs]
    scale = next((str(name) for each in choices if (name := each.get("scale", "paper")) != "paper"), "paper")
    sources = "; ".join(dict.fromkeys(line.source for line in lines))
    sentences = [f"Published: {sources}."] if lines else []
    if scale != "paper":
        # Only a paper's sweep, one with a source, is made smaller (runs.shrink).
        small = ": small networks, other images" if sweep.get("source") else ""
        apart = " The published numbers are the paper's, not to be compared with." if lines else ""
        sentences.append(f"These runs are of scale {scale}{small}.{apart}")
    return Compared(
        lines={(line.labels, line.checkpoint): line for line in lines},
        beside=frozenset(key for line in lines for key in line.numbers),
        unmatched=unmatched(lines, groups),
        marks={note: str(number).translate(DIGITS) for number, note in enumerate(notes, 1)},
        sentences=tuple(sentences),
        scale=scale,
    )


def _difference(number: Printed | None, own: Cell) -> Cell:
    if number is None or own.estimate is None:
        return Cell("–")
    value = own.estimate.value - number.value
    return Cell(f"{value:+.2f}".replace("-", "−"), value, value)
