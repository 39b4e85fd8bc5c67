"""Standard adversarial training (Madry et al. 2018), called SAT in RobustWRN."""

from torch import nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.defenses.label_smoothing import Smoothing, smoothed_cross_entropy
from advarch.modes import BatchNormMode, attack_mode
from advarch.types import Attack, Images, Labels, LossOutput


def pgd_at(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    bn_mode: BatchNormMode = "eval",
    label_smoothing: Smoothing = None,
    step: TrainStep = AT_START,
) -> LossOutput:
    """Cross entropy on adversarial images (RobustWRN Eq. 1): (1/B) sum CE(f(x'), y), x' = attack(x).

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        attack: the inner maximisation, its threat bound.
        bn_mode: batch normalisation while attacking; see `advarch.modes.BatchNormMode`.
        label_smoothing: share of the label spread over all classes, in the loss only; None spreads nothing.
        step: where in training this is; its generator draws the attack's random start.
    """
    with attack_mode(model, bn_mode) as attacked:
        x_adv = attack(attacked, x, y, generator=step.generator)
    logits = model(x_adv)
    loss = smoothed_cross_entropy(logits, y, label_smoothing)
    return LossOutput(loss, logits.detach(), {"ce_adv": loss.detach()}, adversarial=True)
