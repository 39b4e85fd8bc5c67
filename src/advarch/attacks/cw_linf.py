"""CW_inf: the margin of Carlini and Wagner, ascended by PGD inside the ball."""

from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor

from advarch.attacks.objectives import margin_up_to
from advarch.attacks.pgd import pgd
from advarch.noise import Generator
from advarch.threat import Start, Threat, uniform_start


def cw_linf(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)],
    step_size: Annotated[float, Ge(0)],
    confidence: Annotated[float, Ge(0)] = 0.0,
    start: Start | None = uniform_start,
    restarts: Annotated[int, Ge(1)] = 1,
    stop_on_success: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """PGD that maximises min(max_{j != y} z_j - z_y, confidence), the loss f_6 of Carlini and Wagner (2017) as used by
    Madry et al. (2018): what papers on adversarial training mean by CW or CW_inf. The minimum-norm attack of the same
    authors is `cw_l2`.

    An example whose margin exceeds the confidence has no gradient left and stays where it is. Confidence 0 is
    RobustWRN's, 50 that of Madry, FAT and DS-Net; an infinite one never clips.

    RobustWRN's code sums the margins over the batch before it clips them, so that the whole batch stops moving once
    their sum is positive. That is not copied: the clip is each example's own.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball, l_inf in all the papers.
        steps: gradient steps; 0 returns the start.
        step_size: length of a step, in units of pixels in [0, 1].
        confidence: kappa, in units of logits.
        start: where to begin; None begins at x.
        restarts: runs from new starts. Each example keeps the first run that fools it, else the one of largest gain.
        stop_on_success: leave an example at its first misclassified iterate, and spend nothing more on it.
        generator: source of the random start.

    Returns:
        Adversarial images, inside ball and box.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    return pgd(
        model,
        x,
        y,
        threat=threat,
        steps=steps,
        step_size=step_size,
        start=start,
        restarts=restarts,
        objective=margin_up_to(confidence),
        stop_on_success=stop_on_success,
        generator=generator,
    )
