"""Projected gradient descent that stops soon after an image is misclassified: the attack of friendly training."""

from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from advarch.attacks.objectives import cross_entropy, part
from advarch.modes import frozen_parameters
from advarch.noise import Generator, child, normal, pick, ready
from advarch.threat import Start, Threat, check_images, input_gradient, uniform_start
from advarch.types import Labels, Objective


def friendly_pgd(
    model: Any,
    x: Tensor,
    y: Labels,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)],
    step_size: Annotated[float, Ge(0)],
    tau: Annotated[int, Ge(0)] = 0,
    noise_std: Annotated[float, Ge(0)] = 0.0,
    start: Start | None = uniform_start,
    objective: Objective = cross_entropy,
    generator: Generator | None = None,
) -> Tensor:
    """Early-stopped PGD (Zhang et al. 2020, Algorithm 1).

    x_{k+1} = P(x_k + step_size * d(grad_x objective(f(x_k), y)) + noise_std * N(0, 1)) while the image is classified
    correctly, and on at most `tau` iterates at which it is not. With tau >= steps and no noise it is PGD.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: most gradient steps that an image takes.
        step_size: length of a step, in units of pixels in [0, 1].
        tau: steps still taken from misclassified iterates.
        noise_std: of the Gaussian noise added at each step (omega in the paper), in the same units.
        start: where to begin; None begins at x.
        objective: gain per example, maximised; of (logits, y) alone, or the divergence of `kl_to`.
        generator: source of the random start and of the noise.

    Returns:
        Images inside ball and box, in the order of `x`, weaker than PGD's by design.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    check_images(x)
    generator = ready(generator)
    x = x.detach()
    x_adv = x if start is None else start(x, threat, child(generator, 0))
    result = x_adv.clone()
    noise, active = child(generator, "noise"), torch.arange(len(x), device=x.device)
    left = torch.full((len(x),), tau, device=x.device)
    with frozen_parameters(model):
        for _ in range(steps):
            if not len(active):
                break
            gradient, logits = input_gradient(model, x_adv, y, objective)
            fooled = logits.argmax(1) != y
            on = (~fooled | (left > 0)).nonzero().squeeze(1)
            left, objective, noise = (left - fooled.long())[on], part(objective, on), pick(noise, on)
            x, y, active = x[on], y[on], active[on]
            moved = x_adv[on] + step_size * threat.steepest(gradient[on])
            if noise_std:
                moved = moved + noise_std * normal(moved, noise)
            x_adv = threat.project(moved, x)
            result[active] = x_adv
    return result.detach()
