"""The binarisation test of attack strength: an adversarial point is planted, the attack has to find one."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from advarch.errors import InputError
from advarch.evaluation.counted import Counted
from advarch.evaluation.verify import allowed, full_precision
from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, derive_seed, uniform
from advarch.threat import Threat
from advarch.types import Attack, Batch

INNER = 999
"""Points inside the ball that belong to the image's class (the paper: 999 inner points, one on the surface)."""
INNER_RADIUS = 0.95
"""Share of eps within which they lie: the planted point is the only one known beyond."""
BIAS = 0.9
"""Where the readout's threshold lies between the highest inner point (0) and the planted one (1); the paper moves it close."""
PASS = 0.95
"""Success rate from which an attack passes (paper, section 4)."""


@dataclass(frozen=True)
class Strength:
    """How often an attack, and as many random points, found what was planted in `images` tests."""

    attack: str
    found: int
    found_at_random: int
    images: int
    schema: int = 1

    @property
    def passed(self) -> bool:
        """Whether the attack is strong enough for this network, and the tests were hard enough to tell."""
        return self.found >= PASS * self.images and self.found_at_random < 0.5 * self.images


class Binary(nn.Module):
    """The network with its last linear layer replaced by two logits: 0, and w . features + b."""

    def __init__(self, model: nn.Module, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.model, self.weight, self.bias = model, weight, bias

    def forward(self, x: Tensor) -> Tensor:
        z = self.model(x) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(z), z], dim=1)


def binarization(
    model: nn.Module,
    batches: Iterable[Batch],
    name: str,
    attack: Attack,
    *,
    threat: Threat,
    seed: int,
    count: int,
) -> Strength:
    """Zimmermann et al. (NeurIPS 2022), the test for attacks on classifiers.

    For each image: 999 points within 0.95 eps belong to class 0, one on the surface of the ball to class 1. A new linear
    readout on the network's frozen features tells them apart, so an adversarial point certainly exists. An attack that
    fails to find one in over 5 % of the images would overstate this network's robustness. If random points on the surface
    find it as often, the test says nothing.

    Args:
        model: its last `torch.nn.Linear` is replaced.
        batches: images; the labels are not used.
        name: of the attack, part of the random streams.
        attack: run as it is on each binary network.
        threat: the ball.
        seed: of the planted points.
        count: images tested.

    Raises:
        InputError: a network without a linear layer.
    """
    features = _features(model)
    images = _first(batches, count)
    found = random = 0
    with attack_mode(features, "eval"):
        for number in range(len(images)):
            x = images[number : number + 1]
            generator = ExampleGenerator(
                derive_seed(seed, "binarization"), torch.full((1,), number, device=x.device)
            )
            binary = _planted(features, x, threat, generator)
            y = torch.zeros(1, dtype=torch.long, device=x.device)
            x_adv = attack(Counted(binary), x, y, generator=generator.child(name)).detach()
            with full_precision(), torch.no_grad():
                fooled = binary(x_adv).argmax(1) == 1
                found += int((fooled & allowed(x_adv, x, threat)).sum())
                random += int(
                    (binary(_surface(x.expand(100, -1, -1, -1), threat, generator)).argmax(1) == 1).any()
                )
    return Strength(name, found, random, len(images))


def _features(model: nn.Module) -> nn.Module:
    """A copy of the network that ends before its last linear layer."""
    copied = copy.deepcopy(model)
    names = [name for name, module in copied.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise InputError(
            "check: expected a network with a linear layer at its end for binarization, came none"
        )
    if names[-1] == "":
        return nn.Flatten()
    parent, _, last = names[-1].rpartition(".")
    setattr(copied.get_submodule(parent), last, nn.Identity())
    return copied


def _first(batches: Iterable[Batch], count: int) -> Tensor:
    found: list[Tensor] = []
    for batch in batches:
        found.append(batch.x)
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]


@torch.no_grad()
def _planted(features: nn.Module, x: Tensor, threat: Threat, generator: ExampleGenerator) -> Binary:
    """The binary network of one image."""
    inner = x + INNER_RADIUS * (_ball(x.expand(INNER, -1, -1, -1), threat, generator) - x)
    points = torch.cat([x, inner, _surface(x, threat, generator)])
    f = features(points)
    target = np.arange(len(points)) == len(points) - 1
    mean, scale = f.mean(0), f.std().clamp(min=1e-12)
    readout = LogisticRegression(C=1e4, class_weight="balanced", max_iter=300)
    readout.fit(((f - mean) / scale).cpu().numpy(), target)
    weight = torch.from_numpy(readout.coef_[0]).to(f) / scale
    z = f @ weight
    low, high = float(z[:-1].max()), float(z[-1])
    return Binary(features, weight, -(low + BIAS * (high - low)))


def _ball(x: Tensor, threat: Threat, generator: ExampleGenerator) -> Tensor:
    """Points uniform in direction, inside the ball and the box; one stream serves all of them."""
    noise = 2.0 * uniform(x[:1].new_zeros(1, x.numel()), generator).view(x.shape) - 1.0
    if threat.linf:
        return (x + threat.eps * noise).clamp(0.0, 1.0)
    return (x + threat.eps * threat.steepest(noise)).clamp(0.0, 1.0)


def _surface(x: Tensor, threat: Threat, generator: ExampleGenerator) -> Tensor:
    """Points with every coordinate at +-eps (l_inf), or at distance eps (l_2), inside the box."""
    noise = 2.0 * uniform(x[:1].new_zeros(1, x.numel()), generator).view(x.shape) - 1.0
    return (x + threat.eps * threat.steepest(noise)).clamp(0.0, 1.0)
