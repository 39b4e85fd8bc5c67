"""How much an adversarial change of the image moves what a network and its blocks put out, and how often the label with it."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from advarch.metrics.blocks import Outputs, blocks, watching
from advarch.metrics.measured import Measured
from advarch.metrics.robust_loss import adversarial
from advarch.modes import attack_mode
from advarch.types import Attack, Images, Labels, PerExample

Norm = Literal["l1", "l2", "linf"]

_ORDERS: dict[Norm, float] = {"l1": 1, "l2": 2, "linf": math.inf}

NETWORK = "network"
"""The row of the logits, below those of the blocks."""


def lipschitz(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    output_norm: Norm = "l1",
    input_norm: Norm = "linf",
    slack: Annotated[float, Ge(0)] = 0.0,
    batch_size: Annotated[int, Ge(1)] = 100,
    seed: int = 0,
) -> Measured:
    """The empirical Lipschitz constant of the network and of every block, and the perturbation stability (RobustWRN).

    Eq. 3 and Fig. 5: mean_i ||f(x_i) - f(x_i')||_1 / ||x_i - x_i'||_inf, f the logits or what a block puts out, x' the
    attack's image. Section 4.5 and Fig. 4: the share of images with argmax f(x) = argmax f(x'), right or wrong.

    Args:
        model: images in [0, 1] -> logits; evaluated, and left as found.
        x: images (n, channel, height, width).
        y: labels (n,).
        attack: makes x'; an image that it leaves alone counts with 0.
        output_norm: of the difference of outputs.
        input_norm: of the difference of images.
        slack: added to every pixel of x - x' first; the authors' code has 1e-6 (and takes the mean of the batches' means).
        batch_size: images at a time; it decides nothing.
        seed: of the attack.

    Returns:
        Numbers `network`, `stability` and `largest_block`; a row for each block in the order of the forward pass.
    """
    watched = blocks(model)
    found: dict[str, list[Tensor]] = {}
    stable: list[Tensor] = []
    with attack_mode(model, "eval"):
        x_adv = adversarial(model, x, y, attack=attack, batch_size=batch_size, seed=seed)
        for pair in zip(x.split(batch_size), x_adv.split(batch_size), strict=True):
            clean, moved = (_outputs(model, watched, images) for images in pair)
            stable.append((clean[NETWORK].argmax(1) == moved[NETWORK].argmax(1)).double())
            change = pair[0] - pair[1] + slack
            for name, output in clean.items():
                quotient = quotients(output - moved[name], change, output_norm, input_norm)
                found.setdefault(name, []).append(quotient)
    constants = {name: float(torch.cat(each).mean()) for name, each in found.items()}
    network = constants[NETWORK]
    inner = [value for name, value in constants.items() if name != NETWORK]
    return Measured(
        numbers={
            "network": network,
            "stability": float(torch.cat(stable).mean()),
            "largest_block": max(inner, default=network),
        },
        table={"block": list(constants), "constant": list(constants.values())},
    )


def quotients(
    outputs: Tensor, images: Tensor, output_norm: Norm = "l1", input_norm: Norm = "linf"
) -> PerExample:
    """||outputs_i|| / ||images_i|| of differences, (batch, ...) each, in float64; 0 where the image did not change."""
    out, change = (
        torch.linalg.vector_norm(difference.flatten(1).double(), ord=_ORDERS[norm], dim=1)
        for difference, norm in ((outputs, output_norm), (images, input_norm))
    )
    return torch.where(change > 0, out / change, torch.zeros_like(out))


def _outputs(model: nn.Module, watched: dict[str, nn.Module], x: Tensor) -> Outputs:
    """What the blocks put out, and last the logits."""
    with torch.no_grad(), watching(watched) as outputs:
        logits = model(x)
    return {**outputs, NETWORK: logits}
