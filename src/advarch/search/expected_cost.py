"""What the discrete network costs on average over the distribution that a supernet's weights stand for (NADAR, Eqs. 10, 11)."""

from collections.abc import Sequence

from torch import Tensor


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
