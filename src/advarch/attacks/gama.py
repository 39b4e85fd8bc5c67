"""GAMA-PGD: ascent of the margin in probabilities, guided away from a reference while it begins.

The reference's probabilities are computed once, where the authors' code and RobustWRN's compute them again at every step of the
guided part. RobustWRN's port returns an unprojected point, which is not copied.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from advarch.asked import about
from advarch.attacks.objectives import guided_margin, probability_margin
from advarch.attacks.restarts import Rows, over_restarts
from advarch.modes import frozen_parameters
from advarch.noise import Generator, uniform
from advarch.threat import Threat, check_images, input_gradient


def gama(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(1)],
    step_size: Annotated[float, Ge(0)],
    decay_at: Sequence[Annotated[int, Ge(0)]] = (60, 85),
    decay_factor: Annotated[float, Gt(0)] = 10.0,
    weight: Annotated[float, Ge(0)] = 50.0,
    weight_steps: Annotated[int, Ge(1)] = 25,
    reference: Literal["clean", "start"] = "clean",
    restarts: Annotated[int, Ge(1)] = 1,
    stop_on_success: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """GAMA-PGD (Sriramanan et al. 2020, Algorithm 1; RobustWRN's GAMA-100).

    x_{t+1} = P(x_t + a_t * sign(grad_x [max_{j != y} p_j - p_y + lambda_t * ||p - p_ref||_2^2])), p = softmax(f(x_t)),
    t = 0 .. steps-1, from x_0 = x + eps * b with every b = +1 or -1 by a fair coin. lambda_t = weight * max(1 -
    t / weight_steps, 0); a_t is step_size, divided by decay_factor at each t of decay_at. P projects to ball and box, so
    the last iterate, which is returned, lies inside. For l_2 the directions are g / ||g||_2 and b / ||b||_2.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball, l_inf in the papers.
        steps: gradient steps.
        step_size: length of the first steps, in units of pixels in [0, 1].
        decay_at: steps, counted from 0, from which on the length is divided once more.
        decay_factor: what it is divided by.
        weight: lambda at the first step.
        weight_steps: the step at which lambda has come down to 0.
        reference: the point whose probabilities guide: the clean image as in the paper, or the noisy start as in both codes.
        restarts: runs from new starts. Each example keeps the first run that fools it, else the one of largest margin.
        stop_on_success: leave an example at its first misclassified iterate. The published attack takes all steps.
        generator: source of the random start.

    Returns:
        Adversarial images, inside ball and box.

    Raises:
        ValueError: images outside [0, 1] or of integer type; an unknown reference.
    """
    check_images(x)
    x = x.detach()
    schedule = _schedule(steps, step_size, decay_at, decay_factor, weight, weight_steps)
    with frozen_parameters(model):
        clean = _clean_guide(model, x, reference)

        def run(model: Any, rows: Rows, generator: Generator) -> Tensor:
            first = coin_start(x[rows], threat, generator)
            guide = _logits(model, first) if clean is None else clean[rows]
            return _run(model, first, x[rows], y[rows], guide, threat, schedule, stop_on_success)

        return over_restarts(model, x, y, run, restarts, objective=probability_margin, generator=generator)


def _clean_guide(model: Any, x: Tensor, reference: str) -> Tensor | None:
    """Logits of the clean images where these guide."""
    if reference not in ("clean", "start"):
        raise ValueError(f"reference: expected clean or start, came {reference!r}")
    return _logits(model, x) if reference == "clean" else None


def coin_start(x: Tensor, threat: Threat, generator: Generator | None = None) -> Tensor:
    """x + eps * b, every b = +1 or -1 by a fair coin (for l_2: b / ||b||_2), clipped to the box."""
    coins = torch.where(uniform(x, generator) < 0.5, -1.0, 1.0).to(x.dtype)
    return (x + threat.eps * threat.steepest(coins)).clamp(0.0, 1.0)


def _schedule(
    steps: int,
    step_size: float,
    decay_at: Sequence[int],
    decay_factor: float,
    weight: float,
    weight_steps: int,
) -> list[tuple[float, float]]:
    """(length of the step, lambda) for each step."""
    return [
        (
            step_size / decay_factor ** sum(start <= t for start in decay_at),
            weight * max(1.0 - t / weight_steps, 0.0),
        )
        for t in range(steps)
    ]


def _run(
    model: Any,
    x_adv: Tensor,
    x: Tensor,
    y: Tensor,
    guide: Tensor,
    threat: Threat,
    schedule: list[tuple[float, float]],
    stop_on_success: bool,
) -> Tensor:
    result = x_adv.clone()
    active = torch.arange(len(x), device=x.device)
    for length, weight in schedule:
        objective = guided_margin(guide, weight) if weight else probability_margin
        gradient, logits = input_gradient(about(model, active), x_adv, y, objective)
        if stop_on_success:
            standing = (logits.argmax(1) == y).nonzero().squeeze(1)
            active, x, y, guide = active[standing], x[standing], y[standing], guide[standing]
            x_adv, gradient = x_adv[standing], gradient[standing]
            if not len(active):
                break
        x_adv = threat.project(x_adv + length * threat.steepest(gradient), x)
        result[active] = x_adv
    return result


def _logits(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(x)
    return logits
