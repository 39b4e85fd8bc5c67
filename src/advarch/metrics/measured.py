"""What a measure of a network hands back.

A measure is a function (model, x, y, *, settings) -> Measured, which raises InputError where it says nothing about a network. The
stage `analyse` hands over by name what else it asks for: `attack`, `initial` (the network before training), `record` (an
evaluation).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measured:
    """Numbers by name, and a table of named columns of equal length: the CSV, and what the picture draws."""

    numbers: Mapping[str, float]
    table: Mapping[str, Sequence[float | int | str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses columns of different length."""
        lengths = {name: len(column) for name, column in self.table.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of a measure's table differ in length: {lengths}")
