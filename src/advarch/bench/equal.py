"""Whether two programs did the same work: without it their times are no comparison. Each function says why not, by peer."""

import math
from collections.abc import Mapping

from torch import Tensor

from advarch.bench.row import OURS

TOLERANCE = 0.05
"""Share by which two losses on adversarial images may differ: random starts and bf16 move them by less than 1 %."""


def unlike_losses(losses: Mapping[str, float], tolerance: float = TOLERANCE) -> dict[str, str]:
    """Peers whose first loss, from equal weights and images, is another: their attack was weaker, stronger or in another mode."""
    ours = losses[OURS]
    return {
        who: f"its first loss is {loss:.3f} and ours {ours:.3f}"
        for who, loss in losses.items()
        if not abs(loss - ours) <= tolerance * abs(ours)
    }


def noise(images: int, standing: int) -> float:
    """Images by which two equally strong attacks with random starts may differ.

    Two standard errors of a binomial count, 2 sqrt(n p (1 - p)), and at least one image.
    """
    share = standing / images
    return max(1.0, 2 * math.sqrt(images * share * (1 - share)))


def unlike_counts(standing: Mapping[str, int], images: int) -> dict[str, str]:
    """Peers that leave more or fewer images standing than noise explains."""
    ours = standing[OURS]
    allowed = noise(images, ours)
    return {
        who: f"{count} of {images} images stand and {ours} with ours"
        for who, count in standing.items()
        if abs(count - ours) > allowed
    }


def unlike_verdicts(stands: Mapping[str, Tensor], reference: str) -> dict[str, str]:
    """Whose verdict differs from the reference's on any image."""
    expected = stands[reference]
    differing = {who: int((found != expected).sum()) for who, found in stands.items()}
    return {
        who: f"the verdict differs on {count} of {len(expected)} images"
        for who, count in differing.items()
        if count
    }
