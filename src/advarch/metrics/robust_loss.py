"""The loss that a study looks at: cross entropy on clean or adversarial images, or TRADES' loss."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from advarch.attacks.objectives import cross_entropy, kl_to
from advarch.errors import InputError
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import gaussian_start
from advarch.types import Attack, Images, Labels, LogitsFn, PerExample

START_STD = 0.001
"""TRADES' inner problem starts this far from the image, for its objective has no gradient there."""


def adversarial(
    logits: LogitsFn,
    x: Images,
    y: Labels,
    *,
    attack: Attack | None,
    trades_beta: float | None = None,
    batch_size: int,
    seed: int,
) -> Images:
    """The images that maximise the loss inside the attack's threat; the images themselves without an attack.

    Args:
        logits: the network, in the mode that it is attacked in.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        attack: for TRADES' loss its objective is replaced by the KL term and its start by the one of training.
        trades_beta: None for cross entropy.
        batch_size: images at a time; it decides nothing.
        seed: each image draws from its own stream, a function of the seed and its place.

    Raises:
        InputError: TRADES' loss without an attack.
    """
    if attack is None:
        if trades_beta is not None:
            raise InputError(
                f"trades_beta: expected an attack with it, came {trades_beta:g} alone; name an attack or set trades_beta=null"
            )
        return x
    found = []
    for rows in torch.arange(len(x)).split(batch_size):
        images, labels = x[rows], y[rows]
        options: dict[str, Any] = {}
        if trades_beta is not None:
            with torch.no_grad():
                objective = kl_to(logits(images))
            options = {"objective": objective, "start": partial(gaussian_start, std=START_STD)}
        generator = ExampleGenerator(derive_seed(seed, "study"), rows)
        found.append(attack(logits, images, labels, generator=generator, **options))
    return torch.cat(found)


def losses(
    logits: LogitsFn, x: Images, x_adv: Images, y: Labels, *, trades_beta: float | None = None
) -> PerExample:
    """CE(f(x'), y) (DS-Net Eq. 1), or CE(f(x), y) + beta KL(p(x) || p(x')) (Eq. 3), per image.

    KL is TRADES' own direction, that of `defenses.trades`.
    """
    if trades_beta is None:
        return cross_entropy(logits(x_adv), y)
    clean, moved = (torch.log_softmax(logits(images), dim=1) for images in (x, x_adv))
    kl: Tensor = (clean.exp() * (clean - moved)).sum(1)
    return cross_entropy(clean, y) + trades_beta * kl
