"""R-FGSM: a random sign step before the gradient's, in the paper's two-step form and in an iterated one."""

from functools import partial
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor

from advarch.attacks.objectives import cross_entropy
from advarch.attacks.pgd import pgd
from advarch.noise import Generator, normal
from advarch.threat import Threat
from advarch.types import Objective


def rfgsm(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    random_step: Annotated[float, Ge(0)],
    objective: Objective = cross_entropy,
    generator: Generator | None = None,
) -> Tensor:
    """RAND+FGSM (Tramer et al. 2018): a = random_step, and in the paper a = eps/2.

    x' = x + a * sign(N(0, I)), then x'' = x' + (eps - a) * sign(grad_x' objective(f(x'), y)), both clipped to the box.
    For l_2 each sign is a direction of length one: N(0, I) / ||N(0, I)||_2 and g / ||g||_2.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        random_step: length of the random step, in units of pixels in [0, 1], at most eps.
        objective: gain per example, maximised.
        generator: source of the random step.

    Returns:
        Adversarial images, inside ball and box.

    Raises:
        ValueError: images outside [0, 1] or of integer type; a random step longer than eps.
    """
    if random_step > threat.eps:
        raise ValueError(
            f"random_step: expected at most eps = {threat.eps:g}, came {random_step:g}; the paper's is eps/2, "
            "in YAML ${times_eps:0.5}"
        )
    return pgd(
        model,
        x,
        y,
        threat=threat,
        steps=1,
        step_size=threat.eps - random_step,
        start=partial(sign_start, length=random_step),
        objective=objective,
        generator=generator,
    )


def rfgsm_iterated(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(1)],
    step_size: Annotated[float, Ge(0)],
    objective: Objective = cross_entropy,
    generator: Generator | None = None,
) -> Tensor:
    """The R-FGSM of torchattacks: one step length for the random step and for every gradient step.

    x_0 = x + step_size * sign(N(0, I)) clipped to the box only; x_{k+1} = P(x_k + step_size * sign(grad)) with P the
    projection to ball and box. With step_size = eps/2 and one step it is `rfgsm`. With step_size = eps and one step it
    is much weaker: where the two signs disagree, the steps cancel and the pixel stays as it was.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: gradient steps.
        step_size: length of every step, in units of pixels in [0, 1].
        objective: gain per example, maximised.
        generator: source of the random step.

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
        start=partial(sign_start, length=step_size),
        objective=objective,
        generator=generator,
    )


def sign_start(
    x: Tensor, threat: Threat, generator: Generator | None = None, *, length: Annotated[float, Ge(0)]
) -> Tensor:
    """x + length * sign(N(0, I)) (for l_2: a uniform direction), clipped to the box but not to the ball."""
    return (x + length * threat.steepest(normal(x, generator))).clamp(0.0, 1.0)
