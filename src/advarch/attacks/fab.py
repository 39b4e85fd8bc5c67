"""FAB, the fast adaptive boundary attack, untargeted (`fab`) and targeted (`fab_t`)."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from advarch.asked import about
from advarch.attacks.apgd_run import surface_start
from advarch.attacks.fab_run import Run, Settings, run_fab, towards, towards_nearest
from advarch.attacks.targets import likeliest_targets, rows_together, waves
from advarch.modes import frozen_parameters
from advarch.noise import Generator, child, pick, ready
from advarch.threat import Threat, check_images


@torch.no_grad()
def fab(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)],
    alpha_max: Annotated[float, Ge(0), Le(1)] = 0.1,
    eta: Annotated[float, Gt(0)] = 1.05,
    beta: Annotated[float, Gt(0), Le(1)] = 0.9,
    restarts: Annotated[int, Ge(1)] = 1,
    stop_on_success: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """FAB (Croce and Hein 2020), a minimum-norm attack, untargeted: each step costs a backward pass for every class.

    It linearises z_j - z_y for the class j whose boundary is nearest, projects to it, and goes back a little from every
    misclassified point it finds; see `fab_run`. It knows eps only when it counts.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: its norm is minimised; a point counts if it lies within eps.
        steps: steps of each run.
        alpha_max: largest weight of the clean image's projection.
        eta: overshoot beyond the boundary.
        beta: share of the perturbation kept from a misclassified point.
        restarts: runs; the first begins at x, each other at a random point at distance eps / 2.
        stop_on_success: leave an image at the first point within eps, which changes no verdict. False: all steps, and the
            nearest point within eps of all of them.
        generator: source of the restarts' starts.

    Returns:
        A misclassified point within eps, or the image itself where none was found.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    check_images(x)
    x_adv = x.detach().clone()
    if not len(x) or threat.eps == 0:
        return x_adv
    settings = Settings(threat, steps, alpha_max, eta, beta, stop_on_success)
    generator = ready(generator)
    with frozen_parameters(model):
        active = (model(x).argmax(1) == y).nonzero().squeeze(1)
        nearest = torch.full((len(x),), torch.inf, device=x.device)
        for restart in range(restarts):
            if not len(active):
                break
            start = _start(x, threat, generator, active, 0, restart)
            x_active, y_active = x[active].detach(), y[active]
            watched = about(model, active)
            linearise = towards_nearest(watched, y_active, threat.linf)
            each = torch.arange(len(active), device=x.device)
            run = run_fab(watched, start, x_active, y_active, linearise, settings, each)
            active = active[~_take(run, active, x_adv, nearest, settings)]
    return x_adv


@torch.no_grad()
def fab_t(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)],
    targets: Annotated[int, Ge(1)] = 9,
    alpha_max: Annotated[float, Ge(0), Le(1)] = 0.1,
    eta: Annotated[float, Gt(0)] = 1.05,
    beta: Annotated[float, Gt(0), Le(1)] = 0.9,
    restarts: Annotated[int, Ge(1)] = 1,
    max_rows: Annotated[int, Ge(1)] | None = None,
    stop_on_success: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """FAB towards each of the likeliest wrong classes (Croce and Hein 2020, AutoAttack): FAB-T.

    The boundary is that of z_t - z_y, with t the class of the 2nd to (targets+1)-th largest logit of the clean image; any
    wrong class counts as success. Runs of one image go side by side (see `targets.waves`), where the published code takes
    one target after the other.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: its norm is minimised; a point counts if it lies within eps.
        steps: steps of each run.
        targets: how many wrong classes to aim at; cut to classes - 1.
        alpha_max: largest weight of the clean image's projection.
        eta: overshoot beyond the boundary.
        beta: share of the perturbation kept from a misclassified point.
        restarts: runs for each target; the first begins at x, each other at a random point at distance eps / 2.
        max_rows: (image, target) pairs in one forward pass; None is what suits the device, see `targets.rows_together`.
            Only speed and memory depend on it.
        stop_on_success: end all runs of an image at the first point within eps, which changes no verdict. False: all
            steps of all targets, and the nearest point within eps of all of them.
        generator: source of the restarts' starts.

    Returns:
        A misclassified point within eps, or the image itself where none was found.

    Raises:
        ValueError: images outside [0, 1] or of integer type, or a model of one class.
    """
    check_images(x)
    x_adv = x.detach().clone()
    if not len(x) or threat.eps == 0:
        return x_adv
    settings = Settings(threat, steps, alpha_max, eta, beta, stop_on_success)
    generator, rows = ready(generator), rows_together(x, max_rows)
    with frozen_parameters(model):
        logits = model(x)
        ranked = likeliest_targets(logits, targets)
        standing = logits.argmax(1) == y
        nearest = torch.full((len(x),), torch.inf, device=x.device)
        for wave in waves(ranked.shape[1]):
            for restart in range(restarts):
                active = standing.nonzero().squeeze(1)
                if not len(active):
                    return x_adv
                for part in active.split(max(1, rows // len(wave))):
                    start = [_start(x, threat, generator, part, rank, restart) for rank in wave]
                    points = torch.stack(start, dim=1).flatten(0, 1)
                    example = torch.arange(len(part), device=x.device).repeat_interleave(len(wave))
                    x_pairs, y_pairs = x[part][example].detach(), y[part][example]
                    target = ranked[part, wave.start : wave.stop].flatten()
                    watched = about(model, part[example])
                    linearise = towards(watched, y_pairs, target)
                    run = run_fab(watched, points, x_pairs, y_pairs, linearise, settings, example)
                    inside = _take(_nearest_target(run, len(wave)), part, x_adv, nearest, settings)
                    standing[part[inside]] &= not stop_on_success
    return x_adv


def _start(x: Tensor, threat: Threat, generator: Generator, part: Tensor, rank: int, restart: int) -> Tensor:
    """The image itself; for a restart a random point half the radius away."""
    if restart == 0:
        return x[part].detach()
    half = Threat(threat.norm, threat.eps / 2, allow_large_eps=True)
    return surface_start(x[part].detach(), half, pick(child(generator, "target", rank, restart), part))


def _nearest_target(run: Run, targets: int) -> Run:
    """Of each example's runs, the one that came nearest."""
    distance = run.distance.view(-1, targets)
    choice = distance.argmin(1)
    row = torch.arange(len(distance), device=distance.device) * targets + choice
    return Run(run.nearest[row], run.distance[row])


def _take(run: Run, part: Tensor, x_adv: Tensor, nearest: Tensor, settings: Settings) -> Tensor:
    """Write the points that count and are the nearest so far; returns which examples have one within eps."""
    inside = run.distance <= settings.threat.eps
    better = inside & (run.distance < nearest[part])
    x_adv[part[better]] = run.nearest[better]
    nearest[part[better]] = run.distance[better].to(nearest.dtype)
    return inside
