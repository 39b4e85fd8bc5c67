"""The nearest point of a hyperplane inside the box [0, 1]^d."""

import torch
from torch import Tensor


def to_hyperplane(point: Tensor, normal: Tensor, value: Tensor, linf: bool) -> Tensor:
    """The smallest d with value + normal . d = 0 and point + d in [0, 1]^d (Croce and Hein 2020, FAB, Eq. 5).

    Every coordinate that moves goes the way that brings `value` towards 0, at most to the end of the box, c_i. The
    smallest d in l_inf is |d_i| = min(t, c_i), in l_2 |d_i| = min(t |w_i|, c_i), for the one t with
    sum_i |w_i| |d_i| = |value|. The left side is increasing, concave and piecewise linear in t, so Newton's method from
    t = 0 rises to the solution without passing it and reaches it in finitely many steps; nothing is sorted.
    Where the box holds no such point, d goes to the corner nearest to the hyperplane.

    Args:
        point: (batch, ...) in [0, 1].
        normal: gradient w of the linear function (batch, ...). Where it is zero nothing moves.
        value: the linear function at `point` (batch,).
        linf: smallest in l_inf, else in l_2.
    """
    t, w = point.flatten(1), normal.flatten(1)
    scale = w.abs().amax(1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    w, gap = w / scale, value[:, None].abs() / scale
    direction = -torch.where(value[:, None] < 0, -1.0, 1.0) * w.sign()
    weight = w.abs()
    speed = (weight > 0).to(w.dtype) if linf else weight
    room = torch.where(direction > 0, 1.0 - t, t)
    time = torch.zeros_like(gap)
    moved = torch.zeros_like(t)
    for _ in range(t.shape[1] + 1):
        rate = (weight * speed * (speed * time < room)).sum(1, keepdim=True)
        lacking = gap - (weight * moved).sum(1, keepdim=True)
        # Below a few units in the last place of the gap there is nothing left to gain.
        rising = (rate > 0) & (lacking > 4 * torch.finfo(w.dtype).eps * gap)
        if not bool(rising.any()):
            break
        time = torch.where(rising, time + lacking / rate, time)
        moved = torch.minimum(speed * time, room)
    return (direction * moved).view(point.shape)
