"""MART (Wang et al. 2020): misclassified images weigh more in the smooth term."""

from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.modes import BatchNormMode, attack_mode
from advarch.threat import gaussian_start
from advarch.types import Attack, Images, Labels, LossOutput

FLOOR = 1e-12
"""Added inside logarithms, as in the authors' code."""

MARGIN_TOP = 1.0001
"""The code's stand-in for 1 in log(1 - max q): the logarithm stays finite where another class takes all."""

WEIGHT_TOP = 1.0000001
"""The code's stand-in for 1 in the weight 1 - p_y."""


def mart(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    beta: Annotated[float, Ge(0)] = 6.0,
    start_std: Annotated[float, Ge(0)] | None = 0.001,
    bn_mode: BatchNormMode = "eval",
    step: TrainStep = AT_START,
) -> LossOutput:
    """L = (1/B) sum [-log q_y - log(1.0001 - max_{k!=y} q_k + 1e-12)] + (beta/B) sum (1.0000001 - p_y) KL(p || q).

    p = softmax f(x), q = softmax f(x'), and KL takes log(q + 1e-12): the objective of Wang et al. 2020 with the constants
    of the authors' code. x' maximises the attack's own objective, the cross entropy in the paper.

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        attack: the inner maximisation, its threat bound.
        beta: weight of the robustness term (lambda in the paper).
        start_std: the attack starts at x + start_std * N(0, 1), in units of pixels in [0, 1]; None keeps its own start.
        bn_mode: batch normalisation while attacking.
        step: where in training this is; its generator draws the start.
    """
    options = {} if start_std is None else {"start": partial(gaussian_start, std=start_std)}
    with attack_mode(model, bn_mode) as attacked:
        x_adv = attack(attacked, x, y, generator=step.generator, **options)
    logits, logits_adv = model(x), model(x_adv)
    bce, kl = (
        _boosted_cross_entropy(_single(logits_adv), y),
        _weighted_kl(_single(logits), _single(logits_adv), y),
    )
    terms = {"bce": bce.detach(), "kl": kl.detach()}
    return LossOutput(bce + beta * kl, logits_adv.detach(), terms, adversarial=True)


def _single(logits: Tensor) -> Tensor:
    """At least single precision: in half precision the constants vanish."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _boosted_cross_entropy(logits_adv: Tensor, y: Tensor) -> Tensor:
    q = logits_adv.softmax(1)
    others = q.scatter(1, y[:, None], -1.0)
    margin = torch.log(MARGIN_TOP - others.amax(1) + FLOOR)
    return F.cross_entropy(logits_adv, y) - margin.mean()


def _weighted_kl(logits: Tensor, logits_adv: Tensor, y: Tensor) -> Tensor:
    # By log_softmax, not log(p): where p underflows, the derivative of p log p would be no number.
    log_p, q = logits.log_softmax(1), logits_adv.softmax(1)
    p = log_p.exp()
    divergence = (p * (log_p - torch.log(q + FLOOR))).sum(1)
    weight = WEIGHT_TOP - p.gather(1, y[:, None]).squeeze(1)
    return (divergence * weight).mean()
