"""Projected gradient descent."""

from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from advarch.asked import about
from advarch.attacks.objectives import cross_entropy
from advarch.attacks.restarts import Rows, over_restarts
from advarch.modes import frozen_parameters
from advarch.noise import Generator
from advarch.threat import Start, Threat, check_images, input_gradient, uniform_start
from advarch.types import Images, Labels, Objective


def pgd(
    model: Any,
    x: Tensor,
    y: Labels,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)],
    step_size: Annotated[float, Ge(0)],
    start: Start | None = uniform_start,
    restarts: Annotated[int, Ge(1)] = 1,
    objective: Objective = cross_entropy,
    stop_on_success: bool = False,
    generator: Generator | None = None,
) -> Images:
    """Projected gradient descent (Madry et al. 2018; Eq. 2 of RobustWRN).

    x_{k+1} = P(x_k + step_size * d(grad_x objective(f(x_k), y))), k = 0 .. steps-1, where P projects to the threat's
    ball and to [0, 1], and d is the steepest direction: sign for l_inf, g / ||g||_2 for l_2. BIM (Kurakin
    et al. 2017) has start=None; with steps=1 and step_size=eps that is FGSM.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: gradient steps; 0 returns the start.
        step_size: length of a step, in units of pixels in [0, 1].
        start: where to begin; None begins at x.
        restarts: runs from new starts. Each example keeps the first run that fools it, else the one of largest gain.
        objective: gain per example, maximised.
        stop_on_success: leave an example at its first misclassified iterate, and spend nothing more on it. The published
            attack always takes all steps and returns the last iterate; stopping is at least as strong. It needs an
            objective that looks at (logits, y) only.
        generator: source of the random start.

    Returns:
        Adversarial images, inside ball and box.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    check_images(x)
    x = x.detach()
    ascend = _run_until_fooled if stop_on_success else _run

    def run(model: Any, rows: Rows, generator: Generator) -> Tensor:
        first = x[rows] if start is None else start(x[rows], threat, generator)
        return ascend(model, first, x[rows], y[rows], threat, steps, step_size, objective)

    with frozen_parameters(model):
        return over_restarts(model, x, y, run, restarts, objective=objective, generator=generator)


def _run(
    model: Any,
    x_adv: Tensor,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    steps: int,
    step_size: float,
    objective: Objective,
) -> Tensor:
    for _ in range(steps):
        gradient, _ = input_gradient(model, x_adv, y, objective)
        x_adv = threat.project(x_adv + step_size * threat.steepest(gradient), x)
    return x_adv.detach()


def _run_until_fooled(
    model: Any,
    x_adv: Tensor,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    steps: int,
    step_size: float,
    objective: Objective,
) -> Tensor:
    result = x_adv.clone()
    active = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        gradient, logits = input_gradient(about(model, active), x_adv, y, objective)
        # Numbers, not a mask: a GPU's host waits once for how many there are, and not for each tensor that is cut.
        standing = (logits.argmax(1) == y).nonzero().squeeze(1)
        x_adv = threat.project(x_adv + step_size * threat.steepest(gradient), x)[standing]
        x, y, active = x[standing], y[standing], active[standing]
        if not len(active):
            break
        result[active] = x_adv
    return result.detach()
