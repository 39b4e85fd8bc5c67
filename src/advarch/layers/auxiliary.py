"""Auxiliary heads: a second classifier on inner features that helps training (Szegedy et al. 2015; DARTS).

A network stays images -> logits. Its head runs only while someone collects: in its forward pass the network asks `wanted` and
hands over what the head says with `collect`. Training collects around the defense; an attack never does.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Auxiliary(NamedTuple):
    """Logits of an auxiliary head (batch, classes), and the weight of their loss."""

    logits: Tensor
    weight: float


class _Collection:
    """Who collects at the moment."""

    found: list[Auxiliary] | None = None


_COLLECTION = _Collection()


@contextmanager
def collecting() -> Iterator[list[Auxiliary]]:
    """Collect what auxiliary heads say in the forward passes in this block."""
    with _collecting_into([]) as found:
        assert found is not None
        yield found


@contextmanager
def not_collecting() -> Iterator[None]:
    """No auxiliary head runs in this block."""
    with _collecting_into(None):
        yield


@contextmanager
def _collecting_into(found: list[Auxiliary] | None) -> Iterator[list[Auxiliary] | None]:
    before, _COLLECTION.found = _COLLECTION.found, found
    try:
        yield found
    finally:
        _COLLECTION.found = before


def wanted(network: nn.Module) -> bool:
    """Whether the network is to run its auxiliary head: it trains, and someone collects."""
    return network.training and _COLLECTION.found is not None


def collect(logits: Tensor, weight: float) -> None:
    """Hand over an auxiliary head's logits; its loss counts `weight` times (0.4 in DARTS and RobustWRN)."""
    if _COLLECTION.found is not None:
        _COLLECTION.found.append(Auxiliary(logits, weight))


def auxiliary_loss(found: Sequence[Auxiliary], y: Tensor) -> Tensor:
    """Mean over the collected passes of weight * (1/B) sum CE(logits, y); an empty collection gives 0.

    A defense with a clean and an adversarial pass is collected twice, so the mean keeps the weight what it is called. A pass
    over several copies of the batch in a row counts every copy.

    Raises:
        ValueError: a pass that is not over whole copies of the batch.
    """
    losses = []
    for logits, weight in found:
        copies, rest = divmod(len(logits), len(y))
        if rest or not copies:
            raise ValueError(
                f"auxiliary head: expected logits of the {len(y)} images of the batch, came {len(logits)}; "
                "this defense passes parts of a batch, take a network without auxiliary head"
            )
        losses.append(weight * F.cross_entropy(logits, y.repeat(copies)))
    return torch.stack(losses).mean() if losses else torch.zeros((), device=y.device)
