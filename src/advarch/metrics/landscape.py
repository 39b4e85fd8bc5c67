"""The surface of the loss around the weights along two random directions (Li et al. 2018; DS-Net Fig. 7a)."""

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.func import functional_call

from advarch.errors import InputError
from advarch.metrics.measured import Measured
from advarch.metrics.robust_loss import adversarial, losses
from advarch.modes import attack_mode
from advarch.noise import derive_seed
from advarch.types import Attack, Images, Labels, LogitsFn


def landscape(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack | None = None,
    attack_each_point: bool = True,
    trades_beta: Annotated[float, Ge(0)] | None = None,
    size: Annotated[int, Ge(3)] = 21,
    span: Annotated[float, Gt(0)] = 1.0,
    move_vectors: bool = False,
    batch_size: Annotated[int, Ge(1)] = 250,
    seed: int = 0,
) -> Measured:
    """f(alpha, beta) = L(W + alpha d + beta e), mean loss over the images, d and e random and filter-normalised.

    It takes size^2 passes over the images.

    Args:
        model: the network; only ever read.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        attack: makes the images of the loss; None takes the clean ones.
        attack_each_point: attack W + alpha d + beta e itself, as the maximum in DS-Net's Eq. 8 asks; otherwise the attack on W
            is used at every point, size^2 times cheaper and too low a loss away from the centre.
        trades_beta: TRADES' loss of that beta instead of cross entropy.
        size: points along each direction, odd, so that the centre is one.
        span: alpha and beta go from -span to span; 1 is a step as long as the weights themselves.
        move_vectors: see `direction`.
        batch_size: images at a time; it decides nothing.
        seed: of directions and attack.

    Returns:
        Numbers: the losses centre, lowest and highest. Table: alpha, beta, loss, a row for each point.

    Raises:
        InputError: an even size, or `trades_beta` without an attack.
    """
    if size % 2 == 0:
        raise InputError(f"size: expected an odd number, so that the centre is a point, came {size}")
    at = [span * (2 * step / (size - 1) - 1) for step in range(size)]
    d, e = (direction(model, seed=derive_seed(seed, which), move_vectors=move_vectors) for which in "de")
    craft = partial(
        adversarial, x=x, y=y, attack=attack, trades_beta=trades_beta, batch_size=batch_size, seed=seed
    )
    rows = []
    with attack_mode(model, "eval"), torch.no_grad():
        at_centre = None if attack_each_point else craft(model)
        for a, b in product(at, repeat=2):
            logits = _moved(model, (a, d), (b, e))
            x_adv = craft(logits) if at_centre is None else at_centre
            parts = zip(*(images.split(batch_size) for images in (x, x_adv, y)), strict=True)
            sums = [losses(logits, *part, trades_beta=trades_beta).sum() for part in parts]
            rows.append((a, b, torch.stack(sums).double().sum().item() / len(x)))
    alphas, betas, surface = zip(*rows, strict=True)
    return Measured(
        {"centre": surface[len(surface) // 2], "lowest": min(surface), "highest": max(surface)},
        {"alpha": alphas, "beta": betas, "loss": surface},
    )


def direction(model: nn.Module, *, seed: int, move_vectors: bool = False) -> dict[str, Tensor]:
    """A random direction whose every filter is as long as the network's: d_ij <- d_ij / ||d_ij|| * ||W_ij|| (Li et al. 2018).

    Args:
        model: the network.
        seed: of the normal numbers; each parameter has its own stream.
        move_vectors: whether biases, scales and shifts of norms and attention logits move too, each vector as one filter; as
            published they stay.

    Returns:
        A tensor for each parameter that moves. A filter is what makes one output channel, or one row of a matrix.
    """
    made = {}
    for name, weight in model.named_parameters():
        vector = weight.ndim < 2
        if vector and not move_vectors:
            continue
        generator = torch.Generator().manual_seed(derive_seed(seed, name))
        drawn = torch.randn(weight.shape, generator=generator).to(weight)
        filters, lengths = ((t.reshape(1, -1) if vector else t.flatten(1)) for t in (drawn, weight.detach()))
        scale = lengths.norm(dim=1, keepdim=True) / filters.norm(dim=1, keepdim=True)
        made[name] = (filters * scale).view_as(weight)
    return made


def _moved(model: nn.Module, *steps: tuple[float, Mapping[str, Tensor]]) -> LogitsFn:
    """The network of weights W + alpha d + beta e; W itself is not touched."""
    weights = {
        name: sum((length * towards[name] for length, towards in steps), weight.detach())
        for name, weight in model.named_parameters()
        if name in steps[0][1]
    }
    return lambda images: functional_call(model, weights, (images,))
