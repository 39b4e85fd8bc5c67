"""N-FGSM (de Jorge et al. 2022): one gradient step from strong noise, never clipped to the ball."""

from dataclasses import replace
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from advarch.attacks.objectives import cross_entropy
from advarch.defenses.contract import AT_START, TrainStep
from advarch.defenses.label_smoothing import Smoothing, smoothed_cross_entropy
from advarch.modes import BatchNormMode, attack_mode
from advarch.noise import Generator
from advarch.threat import Threat, check_images, input_gradient, uniform_start
from advarch.types import Attack, Images, Labels, LossOutput


def n_fgsm(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    threat: Threat,
    noise: Annotated[float, Ge(0)] = 2.0,
    step_size: Annotated[float, Ge(0)],
    bn_mode: BatchNormMode = "train",
    label_smoothing: Smoothing = None,
    attack: Attack | None = None,
    step: TrainStep = AT_START,
) -> LossOutput:
    """(1/B) sum CE(f(x'), y), x' = x_0 + step_size * sign grad CE(f(x_0), y), x_0 = x + U(-noise eps, noise eps).

    De Jorge et al. 2022, Algorithm 1. x_0 and x' are clipped to [0, 1] as in the authors' CIFAR code, never to the
    ball: ||x' - x|| reaches noise * eps + step_size. For l_2 (not in the paper) x_0 is uniform in the ball of radius
    noise * eps, and the sign is g / ||g||_2.

    Args:
        model: the network, in training mode.
        x: images in [0, 1].
        y: labels.
        threat: the ball whose radius is scaled; what the network is to withstand.
        noise: radius of the noise in units of eps (k in the paper).
        step_size: length of the step from the noisy point, in units of pixels in [0, 1]; eps in the paper.
        bn_mode: batch normalisation in the pass that makes the images; `train` in the authors' code.
        label_smoothing: share of the label spread over all classes, in the loss only; None spreads nothing.
        attack: not run.
        step: where in training this is; its generator draws the noise.
    """
    del attack
    check_images(x)
    with attack_mode(model, bn_mode):
        x_adv = _noisy_step(model, x, y, threat, noise, step_size, step.generator)
    logits = model(x_adv)
    loss = smoothed_cross_entropy(logits, y, label_smoothing)
    return LossOutput(loss, logits.detach(), {"ce_adv": loss.detach()}, adversarial=True)


def _noisy_step(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    noise: float,
    step_size: float,
    generator: Generator | None,
) -> Tensor:
    wide = replace(threat, eps=noise * threat.eps, allow_large_eps=True)
    x_noisy = uniform_start(x, wide, generator)
    gradient, _ = input_gradient(model, x_noisy, y, cross_entropy)
    return (x_noisy + step_size * threat.steepest(gradient)).clamp(0.0, 1.0)
