"""A network on validation images: how many it gets right, and how many under an attack."""

import torch
from torch import Tensor, nn

from advarch.noise import ExampleGenerator, derive_seed
from advarch.types import Attack, Batch


def validated(network: nn.Module, batch: Batch, attack: Attack, *, seed: int) -> Tensor:
    """Images classified right, those of them that stay so under the attack, and all images: int64 (3,).

    Logits that are no finite numbers classify nothing right: their argmax would be the first class.

    Each image draws from a random stream of its own, a function of (seed, index), so batches and processes change nothing.

    Args:
        network: in the mode in which it is judged.
        batch: images in [0, 1] with their indices, on the network's device.
        attack: run on the images classified right.
        seed: of the experiment.
    """
    x, y, index = batch
    generator = ExampleGenerator(derive_seed(seed, "validation"), index)
    with torch.no_grad():
        clean = _right(network(x), y)
    x_adv = attack(network, x[clean], y[clean], generator=generator[clean])
    with torch.no_grad():
        robust = _right(network(x_adv), y[clean])
    return torch.stack([clean.sum(), robust.sum(), torch.tensor(len(y), device=y.device)])


def _right(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(1) == y) & logits.isfinite().all(1)
