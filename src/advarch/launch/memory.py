"""What training holds in memory, from a network's size. No torch."""

from advarch.records import Size
from advarch.runs.config import Config

BYTES = 4
"""Of a number in float32."""

STATES = {"SGD": 1, "sgd_decay_kernels": 1, "sgd_adam_attention": 1, "Adam": 2, "AdamW": 2}
"""Numbers per parameter that an optimizer remembers; SGD only with momentum. The few attention logits are counted as weights."""

ONE_GRAPH = frozenset(["natural", "pgd_at", "fast", "n_fgsm", "Free", "fat", "IAAT", "kd"])
"""Defenses whose loss keeps one forward pass for its backward pass; the others, as TRADES and MART, keep two."""

COPIES = {"AWP": 1, "kd": 2}
"""Networks' worth of numbers held beside weights and gradients: the weights as AWP found them, the teachers of kd."""


def training_memory(config: Config, size: Size) -> int | None:
    """Bytes that a training step in float32 holds at its peak, without workspaces and what an allocator wastes.

    4 P (2 + S + C) + G B A, with P parameters, their gradients beside them, S numbers per parameter in the optimizer, C further
    copies (`COPIES`, and an averaged network), G forward passes kept, B images of a batch and A bytes of activations per image.
    The attack's own passes keep less than the loss's and are over before it. None where the activations or the optimizer's
    states are not known.
    """
    node, defense = config["optimizer"], config["defense"]
    states = STATES.get(_name(node))
    if size.activations is None or states is None:
        return None
    if _name(node).lower().startswith("sgd") and not node.get("momentum"):
        states = 0
    copies = COPIES.get(_name(defense), 0) + (1 if config.get("averaging") else 0)
    if _name(defense) == "AWP":
        # The first of its two losses is over before the second begins.
        defense = defense["base"]
    graphs = 1 if _name(defense) in ONE_GRAPH else 2
    batch = config["dataset"]["batch_size"]
    return int(BYTES * size.parameters * (2 + states + copies) + graphs * batch * size.activations)


def _name(node: Config) -> str:
    return str(node["_target_"]).rpartition(".")[2]
