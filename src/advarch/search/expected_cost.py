"""What the discrete network costs on average over the distribution that a supernet's weights stand for (NADAR, Eqs. 10, 11)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from advarch.genotype.cell import INPUTS
from advarch.genotype.cost import operation_cost
from advarch.genotype.space import Space


def operation_macs(
    space: Space, *, channels: Sequence[int], sides: Sequence[int], reductions: Sequence[bool]
) -> Tensor:
    """FLOPs(o): multiply-adds of every candidate at every place in the network, (places, edges, operations).

    Args:
        space: edges and candidates.
        channels: of a node, for each place.
        sides: of the square maps that each place's cell works on, before it reduces.
        reductions: whether each place's cell halves them.
    """
    places = zip(channels, sides, reductions, strict=True)
    return torch.tensor(
        [
            [
                [
                    operation_cost(op, width, side, stride=2).macs
                    if reduces and source < INPUTS
                    else operation_cost(op, width, -(-side // 2) if reduces else side).macs
                    for op in space.operations
                ]
                for source, _ in space.edges
            ]
            for width, side, reduces in places
        ],
        dtype=torch.float64,
    )


def expected_cost(operations: Tensor, inputs: Tensor, costs: Tensor, *, kinds: Sequence[int]) -> Tensor:
    """sum_j sum_{i<j} softmax(beta)_(i,j) sum_o softmax(alpha)_o FLOPs(o), over all nodes and cells (Eq. 10).

    The expectation over cells in which each node draws one input and that edge one operation.

    Args:
        operations: softmax(alpha), (kinds, edges, operations).
        inputs: softmax(beta) over the edges into each node, (kinds, edges).
        costs: of every operation at every place in the network, (places, edges, operations).
        kinds: which cell stands at each place.
    """
    at = list(kinds)
    return ((operations[at] * costs).sum(-1) * inputs[at]).sum()


def cost_factor(cost: Tensor, *, gamma: float, tau: float) -> Tensor:
    """gamma log(FLOPs)^tau, the factor on the adversarial validation loss (Eq. 11). tau = 0 takes the cost out."""
    return gamma * cost.log() ** tau


def unit_gamma(cost: Tensor, *, tau: float) -> float:
    """The gamma with which the factor is 1 at this cost ("around 1.0", section 3.3)."""
    return float(cost.log() ** -tau)
