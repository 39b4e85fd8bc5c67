"""Fast adversarial training (Wong et al. 2020): one gradient step from a random start."""

from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.attacks.pgd import pgd
from advarch.defenses.contract import AT_START, TrainStep
from advarch.defenses.label_smoothing import Smoothing, smoothed_cross_entropy
from advarch.modes import BatchNormMode, attack_mode
from advarch.threat import Threat
from advarch.types import Attack, Images, Labels, LossOutput


def fast(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    threat: Threat,
    step_size: Annotated[float, Ge(0)],
    bn_mode: BatchNormMode = "train",
    label_smoothing: Smoothing = None,
    attack: Attack | None = None,
    step: TrainStep = AT_START,
) -> LossOutput:
    """(1/B) sum CE(f(x'), y), x' = P(x_0 + step_size * sign grad CE(f(x_0), y)), x_0 uniform in ball and box.

    Wong et al. 2020, Algorithm 3. P projects to ball and box; for an l_2 threat the sign is g / ||g||_2.

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        threat: the ball.
        step_size: length of the one step, in units of pixels in [0, 1]; 1.25 eps in the paper.
        bn_mode: batch normalisation in the pass that makes the images; `train` in the authors' code.
        label_smoothing: share of the label spread over all classes, in the loss only; None spreads nothing.
        attack: not run, so that no other inner maximisation can go by the name of this one.
        step: where in training this is; its generator draws x_0.
    """
    del attack
    with attack_mode(model, bn_mode):
        x_adv = pgd(model, x, y, threat=threat, steps=1, step_size=step_size, generator=step.generator)
    logits = model(x_adv)
    loss = smoothed_cross_entropy(logits, y, label_smoothing)
    return LossOutput(loss, logits.detach(), {"ce_adv": loss.detach()}, adversarial=True)
