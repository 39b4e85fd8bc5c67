"""How far an architecture's weights are from a decision."""

import torch
from torch import Tensor

from advarch.genotype.space import Space
from advarch.layers.mixed_op import Mixing


@torch.no_grad()
def entropies(space: Space, mixing: Mixing) -> dict[str, float]:
    """-sum_o p_o ln p_o, in nats, mean over the edges; likewise of a node's inputs where they are weighed.

    p are the weights over their sum, so ln(operations) is undecided and 0 decided. A mixing of whole operations has none.

    Args:
        space: whose edges they are.
        mixing: weights of at least 0.
    """
    found: dict[str, float] = {}
    if isinstance(mixing.operations, Tensor):
        found["entropy"] = float(_entropy(mixing.operations).mean())
    if mixing.inputs is not None:
        nodes = [_entropy(mixing.inputs[:, part]) for part in space.incoming]
        found["entropy_inputs"] = float(torch.stack(nodes).mean())
    return found


def _entropy(weights: Tensor) -> Tensor:
    shares = weights.float() / weights.float().sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1)
