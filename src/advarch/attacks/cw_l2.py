"""CW-L2: the smallest l_2 perturbation, by Adam in tanh space and a search for the constant."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from advarch.asked import about
from advarch.attacks.objectives import margin, margin_up_to
from advarch.modes import frozen_parameters
from advarch.noise import Generator
from advarch.threat import Threat, check_images, input_gradient

_INSIDE = 0.999999
"""Pulls images off the faces of the box, where atanh is infinite, as the authors' code does."""
_LEAST_GAIN = 0.9999
"""An early abort wants the loss to fall below this share of its last checked value."""


def cw_l2(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(1)] = 10_000,
    learning_rate: Annotated[float, Gt(0)] = 0.01,
    search_steps: Annotated[int, Ge(1)] = 9,
    initial_c: Annotated[float, Gt(0)] = 1e-3,
    confidence: Annotated[float, Ge(0)] = 0.0,
    abort_early: bool = True,
    clip_to_ball: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """The l_2 attack of Carlini and Wagner (2017, section VI-A), untargeted.

    Adam minimises ||x' - x||_2^2 + c * max(z_y - max_{j != y} z_j + confidence, 0) over w with x' = (tanh(w) + 1) / 2,
    from tanh(w) = 0.999999 * (2 x - 1). The constant c is searched for each example: times 10 until an attack succeeds,
    then by bisection. The closest iterate whose margin exceeds the confidence is the answer; an example that is
    misclassified by that much from the start, or never fooled, is returned as it is. The attack does not look at the
    sign of the logits: shifting them all changes nothing.

    The published attack knows no eps. Here the point it finds is by default projected to the threat's ball at the end
    (for l_inf too), and an example counts as robust if that projection does not fool the model: robust accuracy at eps,
    not a distance. With clip_to_ball=False the point itself is returned, inside the box only, for its distance to be
    reported.

    Differs from the authors' code: aborts each example on its own, not the batch by its summed loss, and by the
    lowest loss so far, since Adam swings about the boundary; does not repeat the smallest successful c in a tenth search
    step.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: Adam steps for each c.
        learning_rate: Adam's, in tanh space; its betas are 0.9 and 0.999, its epsilon 1e-8.
        search_steps: values of c tried; 1 keeps initial_c.
        initial_c: the first c.
        confidence: kappa, in units of logits.
        abort_early: ten times in a run, leave examples whose loss has not fallen by 0.01 % since the last look.
        clip_to_ball: project the point found to the threat's ball.
        generator: not used; the attack draws nothing.

    Returns:
        Adversarial images in the box, and inside the ball if clip_to_ball.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    del generator
    check_images(x)
    x = x.detach()
    x_adv = x.clone()
    with frozen_parameters(model):
        with torch.no_grad():
            standing = (margin(model(x), y) <= confidence).nonzero().squeeze(1)
        if len(standing):
            x_standing, y_standing = x[standing], y[standing]
            watched = about(model, standing)
            c = _SearchOfC(len(x_standing), initial_c, x)
            closest = x_standing.clone()
            for _ in range(search_steps):
                found, length = _descend(
                    watched, x_standing, y_standing, c.value, steps, learning_rate, confidence, abort_early
                )
                closest = torch.where(c.update(length)[:, None, None, None], found, closest)
            x_adv[standing] = closest
    if not clip_to_ball:
        return x_adv
    inside = threat.distance(x_adv, x) <= threat.eps
    return torch.where(inside[:, None, None, None], x_adv, threat.project(x_adv, x))


class _SearchOfC:
    """The bracket of each example's constant: every c below `low` failed, one at `high` succeeded."""

    def __init__(self, count: int, initial: float, like: Tensor) -> None:
        self.value = torch.full((count,), initial, device=like.device, dtype=like.dtype)
        self.low = torch.zeros_like(self.value)
        self.high = torch.full_like(self.value, torch.inf)
        self.shortest = torch.full_like(self.value, torch.inf)

    def update(self, length: Tensor) -> Tensor:
        """Take in the squared lengths found with `value` (infinite: none), choose the next; True where a record."""
        succeeded = length.isfinite()
        self.high = torch.where(succeeded, self.value, self.high)
        self.low = torch.where(succeeded, self.low, self.value)
        self.value = torch.where(self.high.isinf(), 10.0 * self.value, (self.low + self.high) / 2.0)
        record = length < self.shortest
        self.shortest = torch.minimum(length, self.shortest)
        return record


def _descend(
    model: Any,
    x: Tensor,
    y: Tensor,
    c: Tensor,
    steps: int,
    learning_rate: float,
    confidence: float,
    abort_early: bool,
) -> tuple[Tensor, Tensor]:
    """One run of Adam: each example's closest fooling iterate and its squared length (infinite where none fooled)."""
    result, result_length = x.clone(), torch.full_like(c, torch.inf)
    closest, shortest = result.clone(), result_length.clone()
    w = torch.atanh(_INSIDE * (2.0 * x - 1.0))
    origin = (torch.tanh(w) + 1.0) / 2.0
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    previous, lowest = result_length.clone(), result_length.clone()
    active = torch.arange(len(x), device=x.device)
    for step in range(steps):
        t = torch.tanh(w)
        x_adv = (t + 1.0) / 2.0
        slope, logits = input_gradient(about(model, active), x_adv, y, margin_up_to(confidence))
        gain = margin(logits, y).to(c.dtype)
        delta = x_adv - origin
        length = delta.square().flatten(1).sum(1)
        closer = (gain > confidence) & (length < shortest)
        closest = torch.where(closer[:, None, None, None], x_adv, closest)
        shortest = torch.where(closer, length, shortest)
        gradient = (2.0 * delta - c[:, None, None, None] * slope) * (1.0 - t.square()) / 2.0
        w, first, second = _adam(w, gradient, first, second, step + 1, learning_rate)
        lowest = torch.minimum(lowest, length + c * (confidence - gain).clamp(min=0.0))
        if abort_early and step % max(steps // 10, 1) == 0:
            result[active], result_length[active] = closest, shortest
            falling = (lowest <= _LEAST_GAIN * previous).nonzero().squeeze(1)
            w, first, second, origin, y = (
                w[falling],
                first[falling],
                second[falling],
                origin[falling],
                y[falling],
            )
            c, closest, shortest, lowest = c[falling], closest[falling], shortest[falling], lowest[falling]
            previous = lowest
            active = active[falling]
            if not len(active):
                break
    result[active], result_length[active] = closest, shortest
    return result, result_length


def _adam(
    w: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, learning_rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Adam (Kingma and Ba 2015, Algorithm 1), which treats every coordinate on its own."""
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient.square()
    step_direction = (first / (1.0 - 0.9**step)) / ((second / (1.0 - 0.999**step)).sqrt() + 1e-8)
    return w - learning_rate * step_direction, first, second
