"""TRADES (Zhang et al. 2019): clean accuracy and a smooth boundary, weighed by beta."""

from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import nn

from advarch.attacks.objectives import kl_to
from advarch.defenses.contract import AT_START, TrainStep
from advarch.defenses.label_smoothing import Smoothing, smoothed_cross_entropy
from advarch.modes import BatchNormMode, attack_mode
from advarch.threat import gaussian_start
from advarch.types import Attack, Images, Labels, LossOutput


def trades(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    beta: Annotated[float, Ge(0)] = 6.0,
    start_std: Annotated[float, Ge(0)] | None = 0.001,
    bn_mode: BatchNormMode = "eval",
    label_smoothing: Smoothing = None,
    step: TrainStep = AT_START,
) -> LossOutput:
    """L = (1/B) sum CE(f(x), y) + (beta/B) sum KL(p(x) || p(x')), p = softmax(f).

    x' maximises the same KL term over the ball. The reference p(x) of that inner problem is computed once, without a
    graph: it does not depend on x'.

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        attack: the inner maximisation, its threat bound; its objective is replaced by the KL term.
        beta: weight of the robustness term (1/lambda in the paper).
        start_std: the inner problem starts at x + start_std * N(0, 1), since the KL term has no gradient at x itself;
            None keeps the attack's own start.
        bn_mode: batch normalisation while attacking.
        label_smoothing: share of the label spread over all classes, in the cross entropy only; None spreads nothing.
        step: where in training this is; its generator draws the start.
    """
    with attack_mode(model, bn_mode) as attacked:
        with torch.no_grad():
            reference = attacked(x)
        options = {} if start_std is None else {"start": partial(gaussian_start, std=start_std)}
        x_adv = attack(attacked, x, y, objective=kl_to(reference), generator=step.generator, **options)
    logits, logits_adv = model(x), model(x_adv)
    ce = smoothed_cross_entropy(logits, y, label_smoothing)
    kl = F.kl_div(
        F.log_softmax(logits_adv, dim=1), F.log_softmax(logits, dim=1), reduction="batchmean", log_target=True
    )
    terms = {"ce": ce.detach(), "kl": kl.detach()}
    return LossOutput(ce + beta * kl, logits_adv.detach(), terms, adversarial=True)
