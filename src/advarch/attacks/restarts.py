"""Runs of an attack from several starts."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from advarch.asked import about
from advarch.noise import Generator, child, pick, ready
from advarch.types import Labels, Objective

Rows: TypeAlias = Tensor | slice
"""Which of the images: numbers, or all."""


def over_restarts(
    model: Any,
    x: Tensor,
    y: Labels,
    run: Callable[[Any, Rows, Generator], Tensor],
    restarts: int,
    *,
    objective: Objective,
    generator: Generator | None,
) -> Tensor:
    """Adversarial images of several runs. Each example keeps the first run that fools it, else the one of largest gain.

    Args:
        model: images -> logits.
        x: images (batch, channel, height, width).
        y: labels (batch,).
        run: network, rows and generator -> adversarial images of these rows.
        restarts: how often.
        objective: gain per example, which ranks the runs that fool nobody.
        generator: source of the starts.
    """
    generator = ready(generator)
    if restarts == 1:
        return run(model, slice(None), child(generator, 0))
    best = x.clone()
    best_gain = torch.full((len(x),), -torch.inf, device=x.device)
    active = torch.arange(len(x), device=x.device)
    for restart in range(restarts):
        if not len(active):
            break
        watched = about(model, active)
        candidate = run(watched, active, pick(child(generator, restart), active))
        with torch.no_grad():
            logits = watched(candidate)
            gain = objective(logits, y[active]).to(best_gain.dtype)
        fooled = logits.argmax(1) != y[active]
        better = fooled | (gain > best_gain[active])
        best[active[better]] = candidate[better]
        best_gain[active[better]] = gain[better]
        active = active[~fooled]
    return best
