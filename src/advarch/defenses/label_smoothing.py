"""The cross entropy that defenses minimise, with smoothed labels on request."""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor

Smoothing = Annotated[float, Ge(0), Lt(1)] | None
"""Share of the label that is spread over all classes; None spreads nothing."""


def smoothed_cross_entropy(logits: Tensor, y: Tensor, smoothing: Smoothing = None) -> Tensor:
    """(1/B) sum_i [ (1 - s) CE(f(x_i), y_i) + (s/K) sum_k CE(f(x_i), k) ] for K classes (Szegedy et al. 2016).

    It is the loss alone that is smoothed: an attack goes on maximising its own objective.

    Args:
        logits: (batch, classes).
        y: labels (batch,).
        smoothing: s; None is 0.
    """
    return F.cross_entropy(logits, y, label_smoothing=smoothing or 0.0)
