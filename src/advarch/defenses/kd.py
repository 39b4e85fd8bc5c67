"""Adversarial training with two teachers, the loss of "SWA with distillation" (Chen et al. 2021)."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.modes import BatchNormMode, attack_mode
from advarch.types import Attack, Images, Labels, LossOutput


def kd(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    teachers: Mapping[str, Any],
    ce_weight: Annotated[float, Ge(0)] = 0.3,
    standard_weight: Annotated[float, Ge(0)] = 0.1,
    robust_weight: Annotated[float, Ge(0)] = 0.6,
    temperature: Annotated[float, Gt(0)] = 2.0,
    bn_mode: BatchNormMode = "eval",
    step: TrainStep = AT_START,
) -> LossOutput:
    """L = a (1/B) sum CE(f(x'), y) + sum_k b_k (T^2/B) sum KL(softmax(t_k(x')/T) || softmax(f(x')/T)), k standard, robust.

    x' = attack(x) on the student. Chen et al. (2021) write the cross entropy with the teacher's softened prediction in place
    of the KL: the two differ by the teacher's entropy, which has no gradient.

    Args:
        model: the student, in training mode.
        x: images in [0, 1].
        y: labels.
        attack: the inner maximisation, its threat bound.
        teachers: `standard`, a network trained on clean images, and `robust`, one trained adversarially: frozen, in eval mode.
        ce_weight: a.
        standard_weight: b of the standard teacher.
        robust_weight: b of the robust teacher.
        temperature: T.
        bn_mode: batch normalisation of the student while attacking.
        step: where in training this is; its generator draws the attack's random start.
    """
    with attack_mode(model, bn_mode) as attacked:
        x_adv = attack(attacked, x, y, generator=step.generator)
    with torch.no_grad():
        standard, robust = teachers["standard"](x_adv), teachers["robust"](x_adv)
    logits = model(x_adv)
    ce = F.cross_entropy(logits, y)
    kd_standard, kd_robust = (_softened_kl(t, logits, temperature) for t in (standard, robust))
    total = ce_weight * ce + standard_weight * kd_standard + robust_weight * kd_robust
    terms = {"ce_adv": ce.detach(), "kd_standard": kd_standard.detach(), "kd_robust": kd_robust.detach()}
    return LossOutput(total, logits.detach(), terms, adversarial=True)


def _softened_kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    log_p, log_q = (F.log_softmax(logits / temperature, dim=1) for logits in (teacher, student))
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
