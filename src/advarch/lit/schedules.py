"""Learning rates as pure functions of time: factor(t, total), t and total in epochs, so that a resumed run can't differ."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MaxLen, MinLen
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Schedule = Callable[..., float]
"""(t, total=epochs) -> the factor on the base learning rate at time t in [0, total)."""


Epochs = Annotated[float, Gt(0)] | None
"""Length of a warm-up; None is none."""

Share = Annotated[float, Interval(ge=0, le=1)] | None
"""Factor that a warm-up begins with; None is 0."""


def warming(t: float, warmup: Epochs, warmup_from: Share) -> float | None:
    """w + (1 - w) t / warmup during a warm-up that begins with the factor w, None after it (Goyal et al. 2017)."""
    if warmup is None or t >= warmup:
        return None
    begin = warmup_from or 0.0
    return begin + (1.0 - begin) * t / warmup


def constant(t: float, *, total: float, warmup: Epochs = None, warmup_from: Share = None) -> float:
    """1, after the warm-up."""
    del total
    rising = warming(t, warmup, warmup_from)
    return 1.0 if rising is None else rising


def multistep(
    t: float,
    *,
    total: float,
    milestones: Sequence[Annotated[float, Ge(0)]],
    gamma: float | Sequence[Annotated[float, Ge(0)]] = 0.1,
    warmup: Epochs = None,
    warmup_from: Share = None,
) -> float:
    """gamma^n, n the number of milestones that the epoch floor(t) has reached; a list holds each milestone's own gamma.

    Milestones below 1 are shares of the run (0.75 of 20 epochs: from epoch 15 on); the others are epochs from 0. A warm-up
    does not move them.
    """
    rising = warming(t, warmup, warmup_from)
    if rising is not None:
        return rising
    epoch = math.floor(t + 1e-9)
    reached = sum(epoch >= (round(m * total) if m < 1 else m) for m in milestones)
    return _lowered(gamma, reached, len(milestones))


def _lowered(gamma: float | Sequence[float], reached: int, milestones: int) -> float:
    gammas = [gamma] * milestones if isinstance(gamma, (int, float)) else gamma
    if len(gammas) != milestones:
        raise ValueError(
            f"gamma: expected a number or one for each of {milestones} milestones, came {len(gammas)}; give as many"
        )
    return math.prod(gammas[:reached], start=1.0)


def cosine(
    t: float,
    *,
    total: float,
    final: Annotated[float, Ge(0)] = 0.0,
    per: Literal["step", "epoch"] = "step",
    warmup: Epochs = None,
    warmup_from: Share = None,
) -> float:
    """final + (1 - final) (1 + cos(pi t / total)) / 2, with t rounded down to whole epochs when `per` is epoch.

    After a warm-up, t and total count from its end.
    """
    rising = warming(t, warmup, warmup_from)
    if rising is not None:
        return rising
    t, total = t - (warmup or 0.0), total - (warmup or 0.0)
    t = math.floor(t + 1e-9) if per == "epoch" else t
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * t / total))


def cyclic(t: float, *, total: float, peak: Annotated[float, Interval(gt=0, lt=1)] = 0.5) -> float:
    """t / (peak total) on the way up, (total - t) / ((1 - peak) total) on the way down (Wong et al. 2020)."""
    top = peak * total
    return t / top if t <= top else max(0.0, (total - t) / (total - top))


def piecewise_linear(
    t: float,
    *,
    total: float,
    points: Annotated[Sequence[Annotated[list[float], MinLen(2), MaxLen(2)]], MinLen(1)],
) -> float:
    """Straight lines through the points (epoch, factor), the first and the last factor beyond them."""
    del total
    known = sorted(points)
    after = bisect_right(known, [t, math.inf])
    if after in (0, len(known)):
        return float(known[min(after, len(known) - 1)][1])
    (left, low), (right, high) = known[after - 1], known[after]
    return low + (high - low) * (t - left) / (right - left)


StepsPerEpoch = int | tuple[int, ...]
"""Optimizer steps of every epoch, or of each epoch in turn."""


def all_steps(epochs: int, steps_per_epoch: StepsPerEpoch) -> int:
    """Optimizer steps of the first `epochs` epochs."""
    return epochs * steps_per_epoch if isinstance(steps_per_epoch, int) else sum(steps_per_epoch[:epochs])


def epoch_at(step: int, steps_per_epoch: StepsPerEpoch) -> float:
    """Time in epochs after so many optimizer steps; a whole number exactly where an epoch ends."""
    if isinstance(steps_per_epoch, int):
        return step / steps_per_epoch
    for epoch, steps in enumerate(steps_per_epoch):
        if step < steps:
            return epoch + step / steps
        step -= steps
    return float(len(steps_per_epoch))


def scheduler(
    optimizer: Optimizer, schedule: Schedule, *, epochs: int, steps_per_epoch: StepsPerEpoch
) -> LambdaLR:
    """A scheduler that is stepped once per optimizer step and knows nothing but the number of steps taken.

    A group that is marked `constant` keeps its learning rate.
    """
    factor = partial(_factor, schedule=schedule, epochs=epochs, steps_per_epoch=steps_per_epoch)
    return LambdaLR(optimizer, [_constant if g.get("constant") else factor for g in optimizer.param_groups])


def _constant(step: int) -> float:
    del step
    return 1.0


def _factor(step: int, *, schedule: Schedule, epochs: int, steps_per_epoch: StepsPerEpoch) -> float:
    return schedule(epoch_at(step, steps_per_epoch), total=epochs)
