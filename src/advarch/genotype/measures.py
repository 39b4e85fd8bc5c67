"""How densely a cell is wired (RobNet, section 3)."""

from collections.abc import Sequence
from fractions import Fraction
from statistics import mean

from advarch.genotype.cell import INPUTS, Cell, Edge, Genotype
from advarch.genotype.operations import OPERATIONS

CANDIDATES = 2
"""Operations that RobNet allows on an edge beside zero: identity and separable convolution."""


def density(cell: Cell, candidates: int = CANDIDATES) -> Fraction:
    """D = (operations present) / (pairs of nodes * candidates): RobNet, Eq. 2.

    `candidates` is how many operations at once the search space allows on an edge: 2 in RobNet, 1 where a choice is made.
    """
    present = sum(edge.op != "none" for _, edge in cell.edges)
    pairs = sum(range(INPUTS, INPUTS + len(cell.nodes)))
    return Fraction(present, pairs * candidates)


def direct_edge_share(cell: Cell) -> Fraction:
    """Share of the direct edges (i, i + 1) that carry a convolution, between 0 and 1."""
    direct = {number for number, edge in cell.edges if edge.source == number - 1 and _convolves(edge.op)}
    return Fraction(len(direct), len(cell.nodes))


def direct_convolution_share(cell: Cell) -> Fraction:
    """Share of the cell's convolutions that lie on direct edges (i, i + 1): the axis of RobNet's Fig. 6b; 0 without any."""
    return Fraction(direct_convolutions(cell), max(1, convolutions(cell)))


def direct_convolutions(cell: Cell) -> int:
    """Convolutions on direct edges (i, i + 1): RobNet, Fig. 6a."""
    return sum(edge.source == number - 1 and _convolves(edge.op) for number, edge in cell.edges)


def convolutions(cell: Cell) -> int:
    """Edges that carry a convolution."""
    return sum(_convolves(edge.op) for _, edge in cell.edges)


def mean_density(genotype: Genotype, candidates: int = CANDIDATES) -> float:
    """Density over the cells of a genotype, each counted once."""
    return float(mean(density(cell, candidates) for cell in genotype.cells))


def alpha(genotype: Genotype, operations: Sequence[str]) -> tuple[int, ...]:
    """RobNet's alpha (section 3.2): 1 where an operation is there, in order of cell, target, source and operation."""
    return tuple(
        int(Edge(op, source) in edges)
        for cell in genotype.cells
        for target, edges in enumerate(cell.nodes, INPUTS)
        for source in range(target)
        for op in operations
    )


def _convolves(op: str) -> bool:
    return OPERATIONS[op].convolves
