"""How densely a cell is wired (RobNet, section 3)."""

from fractions import Fraction
from statistics import mean

from advarch.genotype.cell import INPUTS, Cell, Genotype
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
    sources = [number - edge.source for number, edge in cell.edges if _convolves(edge.op)]
    return Fraction(sources.count(1), max(1, len(sources)))


def convolutions(cell: Cell) -> int:
    """Edges that carry a convolution."""
    return sum(_convolves(edge.op) for _, edge in cell.edges)


def mean_density(genotype: Genotype, candidates: int = CANDIDATES) -> float:
    """Density over the cells of a genotype, each counted once."""
    return float(mean(density(cell, candidates) for cell in genotype.cells))


def _convolves(op: str) -> bool:
    return OPERATIONS[op].convolves
