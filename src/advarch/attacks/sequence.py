"""Several attacks one after the other, the worst case for each image: AutoAttack is a list of four."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from advarch.asked import about
from advarch.attacks.objectives import margin
from advarch.modes import frozen_parameters
from advarch.noise import Generator, child, pick, ready
from advarch.threat import check_images
from advarch.types import Attack


@torch.no_grad()
def sequence(
    model: Any, x: Tensor, y: Tensor, *, attacks: Mapping[str, Attack], generator: Generator | None = None
) -> Tensor:
    """The worst case of several attacks per image: each attack sees only the images that still stand.

    An image is robust if no attack moves it across the boundary (Croce and Hein 2020, Section 6), and that does not
    depend on the attacks' order; only the time does.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        attacks: name -> attack with its threat and settings bound, in the order in which they run. A name also seeds its
            attack, so adding one leaves the results of the others as they are.
        generator: source of the attacks' random numbers.

    Returns:
        For each image the first misclassified point; for one that stands, the point of largest margin
        max_{j != y} z_j - z_y that any attack returned (the clean image among them).

    Raises:
        ValueError: images outside [0, 1] or of integer type, or no attack.
    """
    check_images(x)
    if not attacks:
        raise ValueError("attacks: expected at least one name: attack, came none")
    x_adv = x.detach().clone()
    if not len(x):
        return x_adv
    generator = ready(generator)
    with frozen_parameters(model):
        logits = model(x)
        most, active = margin(logits, y), (logits.argmax(1) == y).nonzero().squeeze(1)
        for name, attack in attacks.items():
            if not len(active):
                break
            y_active, watched = y[active], about(model, active)
            own = pick(child(generator, name), active)
            points = attack(watched, x[active].detach(), y_active, generator=own)
            logits = watched(points)
            gain, fooled = margin(logits, y_active), logits.argmax(1) != y_active
            better = fooled | (gain > most[active])
            x_adv[active[better]] = points[better]
            most[active[better]] = gain[better]
            active = active[~fooled]
    return x_adv
