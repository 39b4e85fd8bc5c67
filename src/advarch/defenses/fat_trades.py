"""Friendly adversarial training for TRADES (Zhang et al. 2020)."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.defenses.fat import stopped_early
from advarch.defenses.label_smoothing import Smoothing
from advarch.defenses.trades import trades
from advarch.modes import BatchNormMode
from advarch.types import Attack, Images, Labels, LossOutput


def fat_trades(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    beta: Annotated[float, Ge(0)] = 6.0,
    taus: Sequence[Annotated[int, Ge(0)]] = (0, 1, 2, 3),
    milestones: Sequence[Annotated[float, Ge(0)]] = (30 / 85, 50 / 85, 70 / 85),
    start_std: Annotated[float, Ge(0)] | None = 0.001,
    bn_mode: BatchNormMode = "eval",
    label_smoothing: Smoothing = None,
    step: TrainStep = AT_START,
) -> LossOutput:
    """The loss of `trades`, x' = early-stopped PGD on the KL term with tau(epoch).

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        attack: `attacks.friendly_pgd`, its threat bound; its objective is replaced by the KL term.
        beta: weight of the robustness term.
        taus: tau before the first milestone and from each on. With tau >= attack.steps this is `trades`.
        milestones: below 1 shares of the run, else epochs counted from 0.
        start_std: the attack starts at x + start_std * N(0, 1); None keeps its own start.
        bn_mode: batch normalisation while attacking.
        label_smoothing: share of the label spread over all classes, in the loss on clean images; None spreads nothing.
        step: where in training this is.

    Raises:
        InputError: the attack has no tau, or there is not one tau more than milestones.
    """
    friendly = stopped_early(attack, taus, milestones, step)
    return trades(
        model, x, y,
        attack=friendly, beta=beta, start_std=start_std, bn_mode=bn_mode, label_smoothing=label_smoothing, step=step,
    )  # fmt: skip
