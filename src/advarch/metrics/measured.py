"""What a measure of a network hands back, or why it can't.

A measure is a function (model, x, y, *, settings) -> Measured. The stage `analyse` hands over by name what else it asks for:
`attack` with `generator`, `batch_size`, `initial` (the network as it was before training), `record` (an evaluation).
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


class NotApplicable(Exception):
    """The measure says nothing about this network (cells that it does not have): it is skipped, for the reason given."""
