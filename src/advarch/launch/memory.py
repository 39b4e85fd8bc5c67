"""What training holds in memory, from a network's size. No torch."""

from advarch.records import Size
from advarch.runs.config import Config

BYTES = 4
"""Of a number in float32."""

STATES = {"torch.optim.SGD": 1, "torch.optim.Adam": 2, "torch.optim.AdamW": 2}
"""Numbers per parameter that an optimizer remembers; SGD only with momentum."""

ONE_GRAPH = frozenset(["natural", "pgd_at"])
"""Defenses whose loss keeps one forward pass for its backward pass; the others, as TRADES, keep up to two."""


def training_memory(config: Config, size: Size) -> int | None:
    """Bytes that a training step in float32 holds at its peak, without workspaces and what an allocator wastes.

    4 P (2 + S) + G B A, with P parameters, their gradients beside them, S numbers per parameter in the optimizer, G forward
    passes kept, B images of a batch and A bytes of activations per image. The attack's own passes keep less than the loss's
    and are over before it. None where the activations or the optimizer's states are not known.
    """
    node = config["optimizer"]
    states = STATES.get(node["_target_"])
    if size.activations is None or states is None:
        return None
    if node["_target_"] == "torch.optim.SGD" and not node.get("momentum"):
        states = 0
    graphs = 1 if config["defense"]["_target_"].rpartition(".")[2] in ONE_GRAPH else 2
    batch = config["dataset"]["batch_size"]
    return int(BYTES * size.parameters * (2 + states) + graphs * batch * size.activations)
