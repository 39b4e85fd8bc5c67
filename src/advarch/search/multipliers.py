"""Lagrangian multipliers of one constraint c <= 0: the augmented objective and the dual step (RACL Eqs. 17 to 19, NADAR 15 to 22).

Both papers print dual steps that let the multiplier become negative. It then pulls a constraint that is kept with room to
spare towards its border, so what is solved is c = 0. `projected` is the textbook form for an inequality.
"""

from typing import Literal

import torch
from torch import Tensor

Penalty = Literal["square", "hinge"]
"""||c||^2 (RACL, Eq. 17) or max(0, c)^2 (NADAR, Eqs. 15 and 19)."""

DualStep = Literal["printed", "projected"]
"""Whether a multiplier may become negative."""


def augmented(loss: Tensor, gap: Tensor, multiplier: Tensor, *, rho: float, penalty: Penalty) -> Tensor:
    """loss + multiplier * c + rho/2 ||c||^2, or with max(0, c) inside the norm (RACL, Eq. 17; NADAR, Eqs. 15 and 19).

    Args:
        loss: the objective to minimise, scalar.
        gap: c of the constraint c <= 0, scalar, differentiable.
        multiplier: theta or lambda, a constant here.
        rho: weight of the penalty.
        penalty: RACL's or NADAR's.
    """
    over = gap if penalty == "square" else gap.clamp(min=0)
    return loss + multiplier.detach() * gap + rho / 2 * over.square()


@torch.no_grad()
def ascend(multiplier: Tensor, gap: Tensor, *, rho: float, dual_step: DualStep) -> Tensor:
    """multiplier + rho * c (RACL, Eq. 19; NADAR, Eqs. 18 and 22); `projected`: no less than 0."""
    moved = multiplier + rho * gap
    return moved.clamp(min=0) if dual_step == "projected" else moved
