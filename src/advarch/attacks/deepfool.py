"""DeepFool: steps to the nearest boundary of the linearised network, until the label changes."""

import math
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from advarch.asked import about
from advarch.modes import frozen_parameters
from advarch.noise import Generator
from advarch.threat import Threat, check_images

_EXTRA = 1e-4
"""Added to the length of every step, as the authors' code does, so that a step does not end on the boundary itself."""


def deepfool(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(0)] = 50,
    overshoot: Annotated[float, Ge(0)] = 0.02,
    candidates: Annotated[int, Ge(2)] | None = 10,
    norm: Literal["l2", "linf"] | None = None,
    clip_to_ball: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """DeepFool (Moosavi-Dezfooli et al. 2016, Algorithm 2, and its extension to l_p norms with p = inf).

    With w_k = grad(z_k - z_y) and f_k = z_k - z_y at the current point, the step goes to the class of smallest
    d_k = |f_k| / ||w_k||_q, by r = (d_k + 1e-4) * direction(w_k): q = 2 and w / ||w||_2 for l_2, q = 1 and sign(w) for
    l_inf. The point is x + (1 + overshoot) * (the sum of all steps), clipped to the box. An example leaves as soon as
    its label changes; one that is misclassified from the start is returned as it is.

    The published attack knows no eps. Here the point it finds is by default projected to the threat's ball at the end,
    and an example counts as robust if that projection does not fool the model: robust accuracy at eps, not a distance.
    With clip_to_ball=False the point itself is returned, inside the box only, for its distance to be reported; where
    the steps did not suffice it does not fool the model.

    Differs from the authors' code: the label y stands for the first prediction, and the point stays inside the box.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: linearisations at most.
        overshoot: eta, the share by which the perturbation is lengthened.
        candidates: classes considered, the label's own and the likeliest others at x; None is all of them.
        norm: the norm that is minimised; None is the threat's own.
        clip_to_ball: project the point found to the threat's ball.
        generator: not used; the attack draws nothing.

    Returns:
        Adversarial images in the box, and inside the ball if clip_to_ball.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
        RuntimeError: called under torch.inference_mode().
    """
    del generator
    check_images(x)
    x = x.detach()
    measure = threat if norm is None else Threat(norm, 0.0)
    with frozen_parameters(model):
        x_adv = _cross(model, x, y, measure, steps, 1.0 + overshoot, candidates)
    if not clip_to_ball:
        return x_adv
    inside = threat.distance(x_adv, x) <= threat.eps
    return torch.where(inside[:, None, None, None], x_adv, threat.project(x_adv, x))


def _cross(
    model: Any, x: Tensor, y: Tensor, measure: Threat, steps: int, factor: float, candidates: int | None
) -> Tensor:
    """The first point of each example's path beyond the boundary, else the last."""
    result = x.clone()
    with torch.no_grad():
        logits = model(x)
    others = _others(logits, y, candidates)
    x_adv, total = x, torch.zeros_like(x)
    active = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        standing = (logits.argmax(1) == y).nonzero().squeeze(1)
        x, y, others, active = x[standing], y[standing], others[standing], active[standing]
        x_adv, total = x_adv[standing], total[standing]
        if not len(active):
            break
        watched = about(model, active)
        total = total + _step(watched, x_adv, y, others, measure)
        x_adv = (x + factor * total).clamp(0.0, 1.0)
        result[active] = x_adv
        with torch.no_grad():
            logits = watched(x_adv)
    return result


def _others(logits: Tensor, y: Tensor, candidates: int | None) -> Tensor:
    """The likeliest classes beside the label, (batch, candidates - 1)."""
    classes = logits.shape[1]
    count = classes if candidates is None else min(candidates, classes)
    return logits.scatter(1, y[:, None], -math.inf).topk(count - 1, dim=1).indices


def _step(model: Any, x: Tensor, y: Tensor, others: Tensor, measure: Threat) -> Tensor:
    """The shortest step to a boundary of the network linearised at x.

    One forward pass, and one backward pass per candidate for all examples together; only the nearest one so far is kept.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "a gradient attack can't run under torch.inference_mode(); use torch.no_grad() or nothing"
        )
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        rise = logits.gather(1, others) - logits.gather(1, y[:, None])
        shortest = torch.full((len(x),), math.inf, device=x.device, dtype=x.dtype)
        step = torch.zeros_like(x)
        last = rise.shape[1] - 1
        for k in range(last + 1):
            (slope,) = torch.autograd.grad(rise[:, k].sum(), x, retain_graph=k < last)
            distance = rise[:, k].detach().abs().to(x.dtype) / _dual_length(slope, measure)
            nearer = distance < shortest
            shortest = torch.where(nearer, distance, shortest)
            step = torch.where(nearer[:, None, None, None], measure.steepest(slope), step)
    return (shortest + _EXTRA)[:, None, None, None] * step


def _dual_length(slope: Tensor, measure: Threat) -> Tensor:
    """The rise of a linear function along a step of length one: ||w||_1 for l_inf, ||w||_2 for l_2."""
    flat = slope.flatten(1)
    length = flat.abs().sum(1) if measure.linf else flat.norm(dim=1)
    return length.clamp(min=1e-12)
