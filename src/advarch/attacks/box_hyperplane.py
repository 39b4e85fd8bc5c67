"""The nearest point of a hyperplane inside the box [0, 1]^d."""

import torch
from torch import Tensor


def to_hyperplane(points: Tensor, normal: Tensor, values: Tensor, linf: bool) -> Tensor:
    """The smallest d with value + normal . d = 0 and point + d in [0, 1]^d (Croce and Hein 2020, FAB, Eq. 5).

    Every coordinate that moves goes the way that brings the value towards 0, at most to the end of the box, c_i. The
    smallest d in l_inf is |d_i| = min(t, c_i), in l_2 |d_i| = min(t |w_i|, c_i), for the one t with
    sum_i |w_i| |d_i| = |value|. The left side is increasing, concave and piecewise linear in t, so Newton's method from
    t = 0 rises to the solution without passing it and reaches it in finitely many steps; nothing is sorted.
    Where the box holds no such point, d goes to the corner nearest to the hyperplane.

    Args:
        points: several points for each example, (points, batch, ...) in [0, 1].
        normal: gradient w of each example's linear function (batch, ...). Where it is zero nothing moves.
        values: the linear function at the points (points, batch).
        linf: smallest in l_inf, else in l_2.
    """
    t, w = points.flatten(2), normal.flatten(1)
    weight = w.abs()
    scale = weight.amax(1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    # A gap beyond the box's reach stays beyond it when cut, and finite when the gradient is next to nothing.
    weight, gap = weight / scale, (values[..., None].abs() / scale).clamp(max=t.shape[2] + 1.0)
    slope = weight if linf else weight.square()
    up = (w < 0) ^ (values[..., None] < 0)
    room = torch.where(up, 1.0 - t, t)
    time, moved = torch.zeros_like(gap), torch.zeros_like(room[..., :1])
    for _ in range(t.shape[2] + 1):
        rate = (slope * (moved < room)).sum(2, keepdim=True)
        lacking = gap - (weight * moved).sum(2, keepdim=True)
        # Below a few units in the last place of the gap there is nothing left to gain.
        rising = (rate > 0) & (lacking > 4 * torch.finfo(w.dtype).eps * gap)
        if not bool(rising.any()):
            break
        time = torch.where(rising, time + lacking / rate, time).clamp(max=torch.finfo(w.dtype).max)
        moved = torch.minimum(time if linf else weight * time, room)
    return (torch.where(up, moved, -moved) * (w != 0)).view(points.shape)
