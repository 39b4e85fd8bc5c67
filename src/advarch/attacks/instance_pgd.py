"""Projected gradient descent with a radius of its own for each image: the attack of instance-adaptive training."""

from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from advarch.attacks.objectives import cross_entropy
from advarch.modes import frozen_parameters
from advarch.noise import Generator, child, ready
from advarch.threat import Start, Threat, check_images, input_gradient, uniform_start
from advarch.types import Labels, Objective


def instance_pgd(
    model: Any,
    x: Tensor,
    y: Labels,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(1)],
    step_size: Annotated[float, Ge(0)],
    start: Start | None = uniform_start,
    objective: Objective = cross_entropy,
    eps: Tensor | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """PGD in the ball of radius eps_i around image i, with steps that suit it (Balaji et al. 2019).

    x_{k+1} = P_i(x_k + max(2 eps_i / steps, step_size) * d(grad_x objective(f(x_k), y))).

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball's norm, and its radius where `eps` is None.
        steps: gradient steps.
        step_size: least length of a step, in units of pixels in [0, 1].
        start: where to begin; None begins at x.
        objective: gain per example, maximised.
        eps: the radii (batch,), in the same units.
        generator: source of the random start.

    Returns:
        Images inside their balls and the box.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    check_images(x)
    x = x.detach()
    radii = torch.full((len(x),), threat.eps, dtype=x.dtype, device=x.device) if eps is None else eps.to(x)
    ball = threat.with_radii(radii)
    length = (2.0 * radii / steps).clamp(min=step_size).view(-1, 1, 1, 1)
    x_adv = x if start is None else start(x, ball, child(ready(generator), 0))
    with frozen_parameters(model):
        for _ in range(steps):
            gradient, _ = input_gradient(model, x_adv, y, objective)
            x_adv = ball.project(x_adv + length * ball.steepest(gradient), x)
    return x_adv.detach()
