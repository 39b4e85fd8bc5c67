"""One run of the fast adaptive boundary attack: a smallest perturbation, sought along the decision boundary."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advarch.asked import about
from advarch.attacks.box_hyperplane import to_hyperplane
from advarch.threat import Threat, input_gradient

_SHORTEST = 1e-8

Linearise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(points, the numbers of their rows) -> (z_other - z_y there, its gradient): positive beyond the boundary."""


class Settings(NamedTuple):
    """What every run of one attack shares; see `fab` for the meaning."""

    threat: Threat
    steps: int
    alpha_max: float
    eta: float
    beta: float
    stop_on_success: bool


class Run(NamedTuple):
    """The nearest misclassified point of each row, and its distance: the image itself and inf where there was none."""

    nearest: Tensor
    distance: Tensor


@torch.no_grad()
def run_fab(
    model: Any, start: Tensor, x: Tensor, y: Tensor, linearise: Linearise, settings: Settings, example: Tensor
) -> Run:
    """Algorithm 1 of Croce and Hein (2020, FAB).

    With d1 and d2 the projections of x_k and x to the linearised boundary within the box,
    x_{k+1} = clip((1 - a) (x_k + eta d1) + a (x + eta d2)), a = min(|d1| / (|d1| + |d2|), alpha_max); from a misclassified
    x_{k+1} the next step begins at x + beta (x_{k+1} - x).

    Args:
        model: images -> logits, its parameters frozen.
        start: where each row begins.
        x: clean image of each row.
        y: label of each row.
        linearise: value and gradient of the logit difference whose zero is the boundary.
        settings: the constants.
        example: which example a row belongs to; with stop_on_success a row that reaches the ball ends all rows of its
            example.
    """
    run = Run(x.clone(), torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device))
    over = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    rows = torch.arange(len(x), device=x.device)
    points = start
    for _ in range(settings.steps):
        clean = x[rows]
        points = _step(points, clean, *linearise(points, rows), settings)
        fooled = about(model, rows)(points).argmax(1) != y[rows]
        distance = settings.threat.distance(points, clean)
        nearer = fooled & (distance < run.distance[rows])
        run.nearest[rows] = torch.where(_wide(nearer), points, run.nearest[rows])
        run.distance[rows] = torch.where(nearer, distance, run.distance[rows])
        points = torch.where(_wide(fooled), clean + (points - clean) * settings.beta, points)
        if settings.stop_on_success:
            inside = (fooled & (distance <= settings.threat.eps)).nonzero().squeeze(1)
            if len(inside):
                over[example[rows[inside]]] = True
                going = (~over[example[rows]]).nonzero().squeeze(1)
                rows, points = rows[going], points[going]
                if not len(rows):
                    break
    return run


def _step(points: Tensor, x: Tensor, value: Tensor, gradient: Tensor, settings: Settings) -> Tensor:
    linf = settings.threat.linf
    value_at_x: Tensor = value + (gradient * (x - points)).flatten(1).sum(1)
    d1, d2 = to_hyperplane(torch.stack((points, x)), gradient, torch.stack((value, value_at_x)), linf)
    length1, length2 = (_length(d, linf).clamp(min=_SHORTEST) for d in (d1, d2))
    alpha = _wide((length1 / (length1 + length2)).clamp(max=settings.alpha_max))
    ahead: Tensor = (points + settings.eta * d1) * (1.0 - alpha) + (x + settings.eta * d2) * alpha
    return ahead.clamp(0.0, 1.0)


def towards(model: Any, y: Tensor, target: Tensor) -> Linearise:
    """The boundary to one class: z_t - z_y."""

    def lead(logits: Tensor, rows: Tensor) -> Tensor:
        return (logits.gather(1, target[rows, None]) - logits.gather(1, y[rows, None])).squeeze(1)

    def linearise(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        gradient, logits = input_gradient(about(model, rows), points, rows, lead)
        return lead(logits, rows), gradient

    return linearise


def towards_nearest(model: Any, y: Tensor, linf: bool) -> Linearise:
    """The boundary that is nearest to first order: the class j of smallest |z_j - z_y| / ||grad (z_j - z_y)||_dual.

    One backward pass for each class.
    """

    def linearise(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        label = y[rows]
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            logits = about(model, rows)(points)
            leads = logits - logits.gather(1, label[:, None])
            totals = leads.sum(0).unbind()
        value, gradient = torch.zeros_like(leads[:, 0]), torch.zeros_like(points)
        nearest = torch.full_like(value, torch.inf)
        leads = leads.detach()
        for j in range(logits.shape[1]):
            (slope,) = torch.autograd.grad(totals[j], points, retain_graph=True)
            steepness = slope.abs().flatten(1).sum(1) if linf else slope.flatten(1).norm(dim=1)
            distance = leads[:, j].abs() / (steepness + 1e-12)
            closer = (distance < nearest) & (label != j)
            nearest = torch.where(closer, distance, nearest)
            value = torch.where(closer, leads[:, j], value)
            gradient = torch.where(_wide(closer), slope, gradient)
        return value, gradient

    return linearise


def _length(delta: Tensor, linf: bool) -> Tensor:
    delta = delta.flatten(1)
    return delta.abs().amax(1) if linf else delta.norm(dim=1)


def _wide(t: Tensor) -> Tensor:
    return t.view(-1, 1, 1, 1)
