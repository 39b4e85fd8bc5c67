"""The architecture's gradient through one step of the weights (DARTS, Eqs. 6 to 8)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

REACH = 0.01
"""Length of the finite difference in the space of weights (DARTS, below Eq. 8)."""


def unrolled_gradient(
    training: Callable[[], Tensor],
    validation: Callable[[], Tensor],
    *,
    weights: Sequence[Tensor],
    arch: Sequence[Tensor],
    rate: float,
    drift: Sequence[Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """grad_alpha L_val(w', alpha) - xi (grad_alpha L_train(w+, alpha) - grad_alpha L_train(w-, alpha)) / (2 epsilon).

    w' = w - xi grad_w L_train(w, alpha) (Eq. 6), w+- = w +- epsilon grad_w' L_val(w', alpha), epsilon = 0.01 /
    ||grad_w' L_val||_2 (Eqs. 7, 8). The weights come back as they were, to the bit.

    Args:
        training: L_train at the weights as they are.
        validation: L_val likewise.
        weights: w, leaves that both losses use.
        arch: alpha, leaves.
        rate: xi.
        drift: added to grad_w L_train in the virtual step: momentum and weight decay in the authors' code.

    Returns:
        L_val(w', alpha), and the gradient for each of `arch`.
    """
    before = [weight.detach().clone() for weight in weights]
    ahead = _gradients(training(), weights)
    if drift is not None:
        ahead = [gradient + own for gradient, own in zip(ahead, drift, strict=True)]
    try:
        _place(weights, before, ahead, -rate)
        loss = validation()
        both = _gradients(loss, [*arch, *weights])
        direct, direction = both[: len(arch)], both[len(arch) :]
        length = torch.stack([part.square().sum() for part in direction]).sum().sqrt()
        reach = REACH / length.clamp(min=torch.finfo(length.dtype).tiny)
        _place(weights, before, direction, reach)
        plus = _gradients(training(), arch)
        _place(weights, before, direction, -reach)
        minus = _gradients(training(), arch)
    finally:
        _place(weights, before)
    slopes = [(high - low) / (2 * reach) for high, low in zip(plus, minus, strict=True)]
    return loss.detach(), [one - rate * slope for one, slope in zip(direct, slopes, strict=True)]


def _gradients(loss: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(of), allow_unused=True, materialize_grads=True))


@torch.no_grad()
def _place(
    weights: Sequence[Tensor],
    before: Sequence[Tensor],
    direction: Sequence[Tensor] | None = None,
    length: Tensor | float = 0.0,
) -> None:
    """weights <- before + length * direction."""
    for at, weight in enumerate(weights):
        weight.copy_(before[at] if direction is None else before[at] + length * direction[at])
