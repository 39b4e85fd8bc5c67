"""The last word on every image: single precision, no TF32, the point allowed, the verdict the same in another batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advarch.threat import Threat

SLACK = 1e-6
"""What rounding may add to a distance: x + eps and its difference to x each round in single precision."""


@dataclass(frozen=True)
class Verdict:
    """Of each image, (batch,): fooled, its point not allowed, its label another in another batch."""

    fooled: Tensor
    invalid: Tensor
    unstable: Tensor


@contextmanager
def full_precision() -> Iterator[None]:
    """Single precision as it is written: neither TF32 nor autocast."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before: tuple[Any, Any] = (matmul.allow_tf32, cudnn.allow_tf32)
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = False
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def allowed(x_adv: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """Whether each point is finite, in [0, 1], and within eps + 1e-6 of its image; measured in double precision."""
    point, image = x_adv.double(), x.double()
    flat = point.flatten(1)
    finite = torch.isfinite(flat).all(1)
    inside = ((flat >= 0.0) & (flat <= 1.0)).all(1)
    return finite & inside & (threat.distance(point, image) <= threat.eps + SLACK)


def permitted(x_adv: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """The points, and the clean image where a point is not `allowed`."""
    return torch.where(allowed(x_adv, x, threat)[:, None, None, None], x_adv, x)


def mistaken(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """Which images get another label, in single precision and all in one batch."""
    with full_precision():
        return predictions(model, x) != y


def verify(model: Any, x_adv: Tensor, x: Tensor, y: Tensor, threat: Threat, wrong: Tensor) -> Verdict:
    """Judge the points that an attack returned.

    A point that is not allowed fools nobody. An image whose label is wrong in one of two batch sizes counts as fooled, in
    the network's disfavour.

    Args:
        model: images -> logits, in eval mode.
        x_adv: what the attack returned.
        x: clean images.
        y: labels.
        threat: the ball.
        wrong: which of the `permitted` points are `mistaken`.
    """
    invalid = ~allowed(x_adv, x, threat)
    safe = torch.where(invalid[:, None, None, None], x, x_adv)
    with full_precision():
        # Another size and another place in the batch: a third of it, from the end.
        size = max(1, len(y) // 3)
        again = predictions(model, safe.flip(0), size).flip(0) != y
    return Verdict((wrong | again) & ~invalid, invalid, wrong != again)


@torch.no_grad()
def predictions(model: Any, x: Tensor, size: int | None = None) -> Tensor:
    """The labels that the network gives, `size` images at a time."""
    batches = x.split(size or max(1, len(x)))
    return torch.cat([model(batch).argmax(1) for batch in batches])
