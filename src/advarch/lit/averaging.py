"""A second network whose weights are a running average of the trained one's: EMA and SWA.

The rule is a pure function of time: the share of the new weights in the average after optimizer step t = 1, 2, ... Nothing but
the average itself has to be saved, and a resumed run can't differ.
"""

import copy
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from advarch.errors import InputError
from advarch.lit.schedules import StepsPerEpoch, all_steps, epoch_at

Buffers = Literal["averaged", "copied", "reestimated"]
"""What becomes of batch normalisation's running statistics in the average.

averaged: they are averaged like the weights.
copied: they are those of the trained network.
reestimated: they are measured on the training images, with the averaged weights, whenever the average is to be used.
"""


@dataclass(frozen=True)
class Clock:
    """How optimizer steps become epochs."""

    epochs: int
    steps_per_epoch: StepsPerEpoch

    def at(self, step: int) -> float:
        """Time after that many steps, in epochs; whole where an epoch ends."""
        return epoch_at(step, self.steps_per_epoch)


@dataclass(frozen=True)
class Ema:
    """Exponential moving average: a <- d a + (1 - d) w after every optimizer step (Polyak & Juditsky 1992).

    d = min(decay, (1 + t)/(10 + t)) with `warmup`, t = 0, 1, ... the averages taken before; else decay. It begins at the
    initial weights.
    """

    decay: Annotated[float, Interval(ge=0, lt=1)] = 0.9999
    warmup: bool = True
    buffers: Buffers = "averaged"

    def share(self, step: int, clock: Clock) -> float:
        """1 - d after optimizer step `step`."""
        del clock
        before = step - 1
        return 1.0 - (min(self.decay, (1 + before) / (10 + before)) if self.warmup else self.decay)

    def begun(self, step: int, clock: Clock) -> bool:
        """Whether there is an average after that many optimizer steps."""
        del clock
        return step > 0


@dataclass(frozen=True)
class Swa:
    """Stochastic weight averaging: a <- a n/(n + 1) + w/(n + 1) after every epoch from `start` on (Izmailov et al. 2018).

    n counts the epochs in the average. `start` is an epoch, counted from 0, or below 1 a share of the run.
    """

    start: Annotated[float, Ge(0)] = 0.275
    buffers: Buffers = "reestimated"

    def share(self, step: int, clock: Clock) -> float:
        """1/(n + 1) after the last step of an epoch from `start` on, else 0."""
        epoch, rest = divmod(clock.at(step), 1)
        averaged = epoch - self._first(clock)
        return 1.0 / averaged if rest == 0 and averaged > 0 else 0.0

    def begun(self, step: int, clock: Clock) -> bool:
        """Whether there is an average after that many optimizer steps."""
        return clock.at(step) // 1 > self._first(clock)

    def _first(self, clock: Clock) -> int:
        return round(self.start * clock.epochs) if self.start < 1 else math.ceil(self.start)


Averaging = Ema | Swa


class Average(nn.Module):
    """The averaged network. It holds no gradients, and its state is part of the training's checkpoint.

    Raises:
        InputError: the training ends before there is an average.
    """

    def __init__(self, model: nn.Module, rule: Averaging, clock: Clock) -> None:
        super().__init__()
        if not rule.begun(all_steps(clock.epochs, clock.steps_per_epoch), clock):
            raise InputError(
                f"averaging: expected it to begin before the end of trainer.max_epochs={clock.epochs}, came {rule}; "
                "set averaging.start to an earlier epoch or to a share of the run below 1"
            )
        self.network = copy.deepcopy(model).requires_grad_(False)
        self.rule, self.clock = rule, clock

    def begun(self, step: int) -> bool:
        """Whether there is an average after that many optimizer steps; before, the trained network stands for itself."""
        return self.rule.begun(step, self.clock)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step `step`, counted from 1."""
        share = self.rule.share(step, self.clock)
        if not share:
            return
        mix(list(self.network.parameters()), list(model.parameters()), share)
        averaged, trained = list(self.network.buffers()), list(model.buffers())
        if self.rule.buffers == "averaged":
            numbers = [value.is_floating_point() for value in trained]
            mix(_chosen(averaged, numbers), _chosen(trained, numbers), share)
            counts = [not number for number in numbers]
            averaged, trained = _chosen(averaged, counts), _chosen(trained, counts)
        for mine, theirs in zip(averaged, trained, strict=True):
            mine.copy_(theirs)


def mix(averaged: list[Tensor], new: list[Tensor], share: float) -> None:
    """a <- a + share (w - a) in place, for all tensors at once."""
    if averaged:
        torch._foreach_lerp_(
            averaged, [value.to(mine) for mine, value in zip(averaged, new, strict=True)], share
        )


def _chosen(values: list[Tensor], flags: list[bool]) -> list[Tensor]:
    return [value for value, flag in zip(values, flags, strict=True) if flag]
