"""Auto-PGD, the untargeted form: APGD-CE and APGD-DLR."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from advarch.asked import about
from advarch.attacks.apgd_run import Settings, run_apgd, surface_start
from advarch.attacks.objectives import cross_entropy
from advarch.modes import frozen_parameters
from advarch.noise import Generator, child, pick
from advarch.threat import Threat, check_images
from advarch.types import Objective


@torch.no_grad()
def apgd(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)],
    step_size: Annotated[float, Ge(0)],
    rho: Annotated[float, Gt(0), Le(1)] = 0.75,
    momentum: Annotated[float, Gt(0), Le(1)] = 0.75,
    restarts: Annotated[int, Ge(1)] = 1,
    eot_samples: Annotated[int, Ge(1)] = 1,
    objective: Objective = cross_entropy,
    stop_on_success: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """Auto-PGD (Croce and Hein 2020, Algorithm 1) from a random point on the surface of the ball.

    PGD with momentum whose step each example halves for itself when it stops paying: see `apgd_run`. With the cross-entropy
    this is APGD-CE, with `dlr.dlr` APGD-DLR.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: gradient steps; steps + 1 gradients are taken.
        step_size: length of the first step, in units of pixels in [0, 1]; the paper's is 2 eps.
        rho: share of rising steps between two checks at or below which the step is halved.
        momentum: weight of the new direction against the last move.
        restarts: runs from new starts, each of the images that still stand.
        eot_samples: forward passes over which gradient, objective and logits are averaged, for models that draw random
            numbers (expectation over transformation). The published code averages the gradient and judges by the last
            draw alone.
        objective: gain per example, maximised.
        stop_on_success: leave an example at its first misclassified point, which changes no verdict. False is the
            published attack: all steps, and the latest misclassified point.
        generator: source of the start.

    Returns:
        Images inside ball and box. A misclassified image comes back as it is, and one that never falls at the point of
        largest objective, where the published code returns the clean image.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    check_images(x)
    x_adv = x.detach().clone()
    if not len(x) or threat.eps == 0:
        return x_adv
    settings = Settings(threat, steps, step_size, rho, momentum, eot_samples, stop_on_success)
    with frozen_parameters(model):
        active = (model(x).argmax(1) == y).nonzero().squeeze(1)
        most = torch.full((len(x),), -torch.inf, device=x.device)
        for restart in range(restarts):
            if not len(active):
                break
            x_active, y_active = x[active].detach(), y[active]
            start = surface_start(x_active, threat, pick(child(generator, restart), active))

            def gain(logits: Tensor, rows: Tensor, labels: Tensor = y_active) -> Tensor:
                return objective(logits, labels[rows])

            run = run_apgd(about(model, active), start, x_active, y_active, gain, settings)
            better = run.fooled | (run.best_gain > most[active])
            point = torch.where(run.fooled.view(-1, 1, 1, 1), run.fooling, run.best)
            x_adv[active[better]] = point[better]
            most[active] = torch.maximum(most[active], run.best_gain.to(most.dtype))
            active = active[~run.fooled]
    return x_adv
