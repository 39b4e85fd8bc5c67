"""The largest singular values of many matrices at once, by power iteration."""

import torch
from torch import Tensor


@torch.no_grad()
def power_iteration(
    matrices: Tensor, directions: Tensor, *, iterations: int = 1, floor: float = 1e-12
) -> tuple[Tensor, Tensor]:
    """An estimate from below of the largest singular value of each matrix, and the directions to go on from.

    v <- W^T u / ||W^T u||, u <- W v / ||W v||, value u^T W v (Yoshida and Miyato 2017). Called again with the directions it
    returned, it goes on where it stopped; a matrix that changes slowly needs one iteration at a time.

    Args:
        matrices: W, (..., rows, columns).
        directions: u, (..., rows), of length one.
        iterations: at least 1.
        floor: what lengths are divided by at least, for matrices of zeros.

    Returns:
        values (...), directions (..., rows).
    """
    u = directions.unsqueeze(-1)
    for _ in range(iterations):
        v = matrices.mT @ u
        v = v / v.norm(dim=-2, keepdim=True).clamp(min=floor)
        w = matrices @ v
        length = w.norm(dim=-2, keepdim=True)
        # A direction that W maps to nothing stays, so that it is there when W is no longer zero.
        u = torch.where(length > floor, w / length.clamp(min=floor), u)
    return length[..., 0, 0], u.squeeze(-1)
