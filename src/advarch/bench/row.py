"""What a row of the bench is: figures, and how many times as fast as each peer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

OURS = "advarch"


@dataclass(frozen=True)
class Row:
    """One measurement.

    name: what was measured, and on what.
    figures: name and unit -> number.
    ratios: peer -> times as fast as it, at equal work only.
    notes: what has to be said with them.
    """

    name: str
    figures: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def value(self, name: str) -> float | None:
        """The ratio to a peer of that name, else the figure."""
        return self.ratios.get(name, self.figures.get(name))


def compared(
    name: str,
    taken: Mapping[str, float],
    count: float,
    unit: str,
    *,
    refused: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    figures: Mapping[str, float] | None = None,
) -> Row:
    """A row of `count` things in the seconds that each took.

    Args:
        taken: `OURS` and the peers -> seconds.
        count: of what `unit` has in a second.
        unit: as "images/s".
        refused: peers that did other work -> why; they get no ratio.
        figures: further ones.
    """
    reasons = refused or {}
    return Row(
        name,
        {f"{who}, {unit}": count / seconds for who, seconds in taken.items()} | dict(figures or {}),
        {who: seconds / taken[OURS] for who, seconds in taken.items() if who != OURS and who not in reasons},
        (*(f"{who}: no ratio, for {why}" for who, why in reasons.items()), *notes),
    )
