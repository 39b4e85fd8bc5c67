"""FGSM, the fast gradient sign method."""

from typing import Any

from torch import Tensor

from advarch.attacks.objectives import cross_entropy
from advarch.modes import frozen_parameters
from advarch.noise import Generator, ready
from advarch.threat import Start, Threat, check_images, input_gradient
from advarch.types import Objective


def fgsm(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    start: Start | None = None,
    objective: Objective = cross_entropy,
    generator: Generator | None = None,
) -> Tensor:
    """FGSM (Goodfellow et al. 2015): x_adv = P(x_0 + eps * d(grad_{x_0} objective(f(x_0), y))), with x_0 = x.

    d is sign for l_inf, g / ||g||_2 for l_2; P projects to ball and box, and from x itself only clips to the box.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball; its radius is the length of the step.
        start: x_0; None is the image itself, as published. DS-Net's code draws it uniformly from the ball.
        objective: gain per example, maximised.
        generator: source of the random start.

    Returns:
        Adversarial images, inside ball and box.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    check_images(x)
    x = x.detach()
    first = x if start is None else start(x, threat, ready(generator))
    with frozen_parameters(model):
        gradient, _ = input_gradient(model, first, y, objective)
    return threat.project(first + threat.eps * threat.steepest(gradient), x)
