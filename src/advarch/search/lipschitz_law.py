"""The law of a supernet's Lipschitz bound under log-normal architecture weights (RACL, Eqs. 10 to 12)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from advarch.search.log_normal import LogNormal, product, scaled, times, total


def edge_law(alpha: LogNormal, constants: Tensor) -> LogNormal:
    """lambda(i,j) = sum_o alpha_o lambda_o (Eq. 11).

    Args:
        alpha: of the operations' weights, (..., operations).
        constants: Lipschitz constants lambda_o >= 0 of the operations, broadcast to the same; not all 0 on an edge.
    """
    return total(scaled(alpha, constants))


def node_laws(beta: LogNormal, edges: LogNormal, incoming: Sequence[slice]) -> LogNormal:
    """lambda(j) = sum_i beta(i,j) lambda(i,j) for every node (Eq. 12).

    Args:
        beta: of the edges' weights, (..., edges).
        edges: of the edges' constants, (..., edges).
        incoming: the edges that lead to each node.

    Returns:
        The nodes' laws, (..., nodes).
    """
    weighted = times(beta, edges)
    nodes = [total(LogNormal(weighted.mu[..., part], weighted.variance[..., part])) for part in incoming]
    return LogNormal(
        torch.stack([node.mu for node in nodes], -1), torch.stack([node.variance for node in nodes], -1)
    )


def network_law(
    alpha: LogNormal,
    beta: LogNormal,
    constants: Tensor,
    *,
    kinds: Sequence[int],
    incoming: Sequence[slice],
    log_constant: float = 0.0,
) -> LogNormal:
    """lambda_F = C prod_k prod_j sum_i beta(i,j) sum_o alpha_o(i,j) lambda_o (Eq. 10): means and variances of the nodes add.

    As printed, the nodes count as independent. Cells of one kind share alpha and beta, so they aren't, and the true variance
    is larger. With variances of 0 the law is Eq. 10 itself, ln lambda_F = mu.

    Args:
        alpha: of the operations' weights, (kinds, edges, operations).
        beta: of the edges' weights, (kinds, edges).
        constants: lambda_o of every place in the network, (places, edges, operations).
        kinds: which cell stands at each place.
        incoming: the edges that lead to each node.
        log_constant: ln C, of the loss and the classifier.
    """
    at = list(kinds)
    edges = edge_law(LogNormal(alpha.mu[at], alpha.variance[at]), constants)
    nodes = node_laws(LogNormal(beta.mu[at], beta.variance[at]), edges, incoming)
    law = product(product(nodes))
    return LogNormal(law.mu + log_constant, law.variance)
