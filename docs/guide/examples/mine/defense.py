"""Adversarial logit pairing."""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.modes import BatchNormMode, attack_mode
from advarch.types import Attack, LossOutput


def logit_pairing(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    attack: Attack,
    weight: Annotated[float, Ge(0)] = 0.5,
    bn_mode: BatchNormMode = "eval",
    step: TrainStep = AT_START,
) -> LossOutput:
    """L = (CE(f(x), y) + CE(f(x'), y)) / 2 + weight * mean (f(x) - f(x'))^2, after Kannan et al. 2018."""
    with attack_mode(model, bn_mode) as attacked:
        x_adv = attack(attacked, x, y, generator=step.generator)
    logits, logits_adv = model(x), model(x_adv)
    ce = (F.cross_entropy(logits, y) + F.cross_entropy(logits_adv, y)) / 2
    pair = F.mse_loss(logits, logits_adv)
    terms = {"ce": ce.detach(), "pair": pair.detach()}
    return LossOutput(ce + weight * pair, logits_adv.detach(), terms, adversarial=True)
