"""What a cell has to be to be a candidate, and drawing networks of such cells (RobNet, section 3.4 and appendix F)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated, Literal

from annotated_types import Interval, Len

from advarch.errors import InputError
from advarch.genotype import measures
from advarch.genotype.cell import Cell, Genotype
from advarch.genotype.space import Space

DirectOf = Literal["edges", "convolutions"]

TRIES = 100_000
"""Cells drawn for one of the budget. Where fewer fit, nobody should be waiting for them."""


@dataclass(frozen=True)
class Budget:
    """Bounds on a cell. RobNet's budgets are small [0, 7], medium [8, 10] and large [11, 14] convolutions, density and direct 0.5.

    Args:
        convolutions: fewest and most of them. None: any.
        density: at least (Eq. 2).
        direct: more than this share of the direct edges carries a convolution, or of the convolutions lies on direct edges.
            None: any.
        direct_of: `edges` or `convolutions`. There are 4 direct edges, so of 8 convolutions or more the latter is never over 0.5.
    """

    convolutions: Annotated[Sequence[int], Len(2, 2)] | None = None
    density: Annotated[float, Interval(ge=0, le=1)] = 0.0
    direct: Annotated[float, Interval(ge=0, lt=1)] | None = None
    direct_of: DirectOf = "edges"

    def __post_init__(self) -> None:
        if self.convolutions is not None:
            fewest, most = self.convolutions
            if not 0 <= fewest <= most:
                raise InputError(
                    f"convolutions: expected fewest and most, 0 <= fewest <= most, came {fewest} and {most}"
                )

    def admits(self, cell: Cell, operations: int = measures.CANDIDATES) -> bool:
        """Whether a cell is within; `operations` is how many at once the space allows on an edge."""
        fewest, most = self.convolutions or (0, len(cell.edges))
        share = (
            measures.direct_edge_share(cell)
            if self.direct_of == "edges"
            else measures.direct_convolution_share(cell)
        )
        return (
            fewest <= measures.convolutions(cell) <= most
            and measures.density(cell, operations) >= self.density
            and (self.direct is None or share > self.direct)
        )


def draw(space: Space, budget: Budget, random: Random, name: str = "drawn") -> Genotype:
    """A genotype drawn uniformly from those all of whose cells are within the budget.

    Raises:
        InputError: no such cell was met.
    """
    cells = [_cell(space, budget, random) for _ in range(space.kinds)]
    return space.genotype([cell.nodes for cell in cells], name)


def _cell(space: Space, budget: Budget, random: Random) -> Cell:
    single = replace(space, layout="shared")
    for _ in range(TRIES):
        (cell,) = single.sample(random).cells
        if budget.admits(cell, space.at_once):
            return cell
    raise InputError(
        f"budget: expected one that some cells of the space are within, came {budget} and none of {TRIES:,}; loosen it"
    )
