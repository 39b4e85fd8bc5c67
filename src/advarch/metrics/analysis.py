"""An analysis: which measures look into a network, and at which images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Len, MinLen

from advarch.metrics.measured import Measured
from advarch.types import Attack


@dataclass(frozen=True)
class Analysis:
    """Named measures and what they are given.

    Args:
        measures: name -> measure, its settings bound.
        attack: makes the adversarial images of those measures that ask for an attack and have none of their own.
        checkpoints: which weights: best on robust validation accuracy, last epoch.
        limit: test images that are looked at, drawn with the experiment's seed; None takes all.
        only: names of those measures that are to run; None runs all.

    Raises:
        ValueError: `only` names a measure that is not there.
    """

    measures: Annotated[Mapping[str, Callable[..., Measured]], MinLen(1)]
    attack: Attack
    checkpoints: Annotated[Sequence[Literal["best", "last"]], Len(1)] = ("best",)
    limit: Annotated[int, Ge(1)] | None = 1000
    only: Annotated[Sequence[str], MinLen(1)] | None = None

    def __post_init__(self) -> None:
        for name in self.only or ():
            if name not in self.measures:
                raise ValueError(f"only: expected measures ({', '.join(self.measures)}), came {name!r}")
