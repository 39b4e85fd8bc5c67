"""Friendly adversarial training for MART (Zhang et al. 2020)."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.defenses.fat import stopped_early
from advarch.defenses.mart import mart
from advarch.modes import BatchNormMode
from advarch.types import Attack, Images, Labels, LossOutput


def fat_mart(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    beta: Annotated[float, Ge(0)] = 6.0,
    taus: Sequence[Annotated[int, Ge(0)]] = (0, 1, 2, 3, 4),
    milestones: Sequence[Annotated[float, Ge(0)]] = (20 / 90, 40 / 90, 60 / 90, 80 / 90),
    start_std: Annotated[float, Ge(0)] | None = 0.001,
    bn_mode: BatchNormMode = "eval",
    step: TrainStep = AT_START,
) -> LossOutput:
    """The loss of `mart`, x' = early-stopped PGD with tau(epoch).

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        attack: `attacks.friendly_pgd`, its threat bound.
        beta: weight of the divergence term.
        taus: tau before the first milestone and from each on. With tau >= attack.steps this is `mart`.
        milestones: below 1 shares of the run, else epochs counted from 0.
        start_std: the attack starts at x + start_std * N(0, 1); None keeps its own start.
        bn_mode: batch normalisation while attacking.
        step: where in training this is.

    Raises:
        InputError: the attack has no tau, or there is not one tau more than milestones.
    """
    friendly = stopped_early(attack, taus, milestones, step)
    return mart(model, x, y, attack=friendly, beta=beta, start_std=start_std, bn_mode=bn_mode, step=step)
