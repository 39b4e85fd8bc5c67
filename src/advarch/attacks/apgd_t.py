"""Auto-PGD, the targeted form: APGD-T."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from advarch.asked import about
from advarch.attacks.apgd_run import Settings, run_apgd, surface_start
from advarch.attacks.dlr import targeted_dlr
from advarch.attacks.targets import likeliest_targets, rows_together, waves
from advarch.modes import frozen_parameters
from advarch.noise import Generator, child, pick, ready
from advarch.threat import Threat, check_images


@torch.no_grad()
def apgd_t(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)],
    step_size: Annotated[float, Ge(0)],
    targets: Annotated[int, Ge(1)] = 9,
    rho: Annotated[float, Gt(0), Le(1)] = 0.75,
    momentum: Annotated[float, Gt(0), Le(1)] = 0.75,
    restarts: Annotated[int, Ge(1)] = 1,
    eot_samples: Annotated[int, Ge(1)] = 1,
    max_rows: Annotated[int, Ge(1)] | None = None,
    stop_on_success: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """Auto-PGD on the targeted DLR objective, a run for each of the likeliest wrong classes (Croce and Hein 2020, Eq. 7).

    The targets are the classes of the 2nd to (targets+1)-th largest logit of the clean image. A target only steers: any
    wrong class counts as success. Runs of one image go side by side (see `targets.waves`), where the published code takes
    one target after the other; the starts are drawn per image and target, so both find the same.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: gradient steps of each run.
        step_size: length of the first step, in units of pixels in [0, 1]; the paper's is 2 eps.
        targets: how many wrong classes to aim at; cut to classes - 1.
        rho: share of rising steps between two checks at or below which the step is halved.
        momentum: weight of the new direction against the last move.
        restarts: runs for each target.
        eot_samples: forward passes averaged, for models that draw random numbers.
        max_rows: (image, target) pairs in one forward pass; None is what suits the device, see `targets.rows_together`.
            Only speed and memory depend on it.
        stop_on_success: end all runs of an image at its first misclassified point, which changes no verdict. False: all
            steps, and the latest misclassified point of the likeliest target that has one.
        generator: source of the starts.

    Returns:
        Images inside ball and box. A misclassified image comes back as it is, and one that never falls at the point of
        largest objective over all targets.

    Raises:
        ValueError: images outside [0, 1] or of integer type, or a model of one class.
    """
    check_images(x)
    x_adv = x.detach().clone()
    if not len(x) or threat.eps == 0:
        return x_adv
    settings = Settings(threat, steps, step_size, rho, momentum, eot_samples, stop_on_success)
    generator, rows = ready(generator), rows_together(x, max_rows)
    with frozen_parameters(model):
        logits = model(x)
        ranked = likeliest_targets(logits, targets)
        standing = logits.argmax(1) == y
        most = torch.full((len(x),), -torch.inf, device=x.device)
        for wave in waves(ranked.shape[1]):
            for restart in range(restarts):
                active = standing.nonzero().squeeze(1)
                if not len(active):
                    return x_adv
                for part in active.split(max(1, rows // len(wave))):
                    start = _starts(x, threat, generator, part, wave, restart)
                    found = _attack(model, start, x, y, ranked, part, wave, settings)
                    point, gain, fooled = found
                    better = fooled | (gain > most[part])
                    x_adv[part[better]] = point[better]
                    most[part] = torch.maximum(most[part], gain.to(most.dtype))
                    standing[part[fooled]] = False
    return x_adv


def _starts(
    x: Tensor, threat: Threat, generator: Generator, part: Tensor, wave: range, restart: int
) -> Tensor:
    """The starts of every (image, target) pair, the targets of an image side by side."""
    x = x[part].detach()
    each = [surface_start(x, threat, pick(child(generator, "target", rank, restart), part)) for rank in wave]
    return torch.stack(each, dim=1).flatten(0, 1)


def _attack(
    model: Any,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    ranked: Tensor,
    part: Tensor,
    wave: range,
    settings: Settings,
) -> tuple[Tensor, Tensor, Tensor]:
    """For each image of `part`: its point, the largest gain, and whether it fell."""
    target = ranked[part, wave.start : wave.stop].flatten()
    example = torch.arange(len(part), device=x.device).repeat_interleave(len(wave))
    x_pairs, y_pairs = x[part][example].detach(), y[part][example]

    def gain(logits: Tensor, rows: Tensor) -> Tensor:
        return targeted_dlr(logits, y_pairs[rows], target[rows])

    run = run_apgd(about(model, part[example]), start, x_pairs, y_pairs, gain, settings, example)
    fooled, best_gain = run.fooled.view(-1, len(wave)), run.best_gain.view(-1, len(wave))
    fell = fooled.any(1)
    choice = torch.where(fell, fooled.long().argmax(1), best_gain.argmax(1))
    row = torch.arange(len(part), device=x.device) * len(wave) + choice
    point = torch.where(fell.view(-1, 1, 1, 1), run.fooling[row], run.best[row])
    return point, best_gain.amax(1), fell
