"""Friendly adversarial training (Zhang et al. 2020): PGD adversarial training on early-stopped PGD."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.defenses.contract import AT_START, TrainStep, name_of
from advarch.defenses.label_smoothing import Smoothing
from advarch.defenses.pgd_at import pgd_at
from advarch.errors import InputError
from advarch.modes import BatchNormMode
from advarch.types import Attack, Images, Labels, LossOutput


def fat(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    taus: Sequence[Annotated[int, Ge(0)]] = (0, 1, 2),
    milestones: Sequence[Annotated[float, Ge(0)]] = (50 / 120, 90 / 120),
    bn_mode: BatchNormMode = "eval",
    label_smoothing: Smoothing = None,
    step: TrainStep = AT_START,
) -> LossOutput:
    """Cross entropy on friendly adversarial images: (1/B) sum CE(f(x'), y), x' = early-stopped PGD of x with tau(epoch).

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        attack: `attacks.friendly_pgd`, its threat bound.
        taus: tau before the first milestone and from each on. With tau >= attack.steps this is `pgd_at`.
        milestones: below 1 shares of the run, else epochs counted from 0.
        bn_mode: batch normalisation while attacking.
        label_smoothing: share of the label spread over all classes, in the loss only; None spreads nothing.
        step: where in training this is.

    Raises:
        InputError: the attack has no tau, or there is not one tau more than milestones.
    """
    friendly = stopped_early(attack, taus, milestones, step)
    return pgd_at(model, x, y, attack=friendly, bn_mode=bn_mode, label_smoothing=label_smoothing, step=step)


def stopped_early(
    attack: Attack, taus: Sequence[int], milestones: Sequence[float], step: TrainStep
) -> Attack:
    """The attack with the tau of this step: taus[n], n the number of milestones reached."""
    if len(taus) != len(milestones) + 1:
        raise InputError(
            f"defense.taus: expected one value more than defense.milestones, came {len(taus)} and {len(milestones)}"
        )
    taken = inspect.signature(attack).parameters
    if "tau" not in taken and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        raise InputError(
            f"attack: expected one that stops early, came {name_of(attack)}; set attack=friendly_pgd"
        )
    return partial(attack, tau=taus[sum(step.reached(milestone) for milestone in milestones)])
