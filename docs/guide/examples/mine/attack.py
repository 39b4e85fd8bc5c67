"""An attack without gradients: the whole image brighter, or darker."""

from typing import Any

import torch
from torch import Tensor

from advarch.attacks.objectives import cross_entropy
from advarch.noise import Generator
from advarch.threat import Threat, check_images
from advarch.types import Objective


def brightness(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    objective: Objective = cross_entropy,
    generator: Generator | None = None,
) -> Tensor:
    """x' = P(x + s eps d) with s = +1 or -1, whichever gains more; d: every pixel alike, of length one in the ball's norm."""
    del generator  # it draws nothing
    check_images(x)
    step = threat.eps * threat.steepest(torch.ones_like(x))
    brighter, darker = threat.project(x + step, x), threat.project(x - step, x)
    with torch.no_grad():
        gain = objective(model(brighter), y) - objective(model(darker), y)
    return torch.where(gain.view(-1, 1, 1, 1) > 0, brighter, darker)
