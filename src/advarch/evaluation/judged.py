"""One attack on a batch: its points, and what the network itself says to them."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advarch.evaluation import suite
from advarch.evaluation.counted import Counted
from advarch.evaluation.verify import mistaken, permitted, predictions, verify
from advarch.noise import ExampleGenerator, Generator, pick
from advarch.threat import Threat
from advarch.types import Attack


class Judged(NamedTuple):
    """What an attack did to a batch.

    points: adversarial images. distance: what is reported for each. fooled: which of them fool the network. asked: queries of
    each image. searched, invalid, unstable: images attacked again because they fooled the copy alone, whose point is not
    allowed, and whose label depends on the batch.
    """

    points: Tensor
    distance: np.ndarray
    fooled: Tensor
    asked: np.ndarray
    searched: int
    invalid: int
    unstable: int


def judged_attack(
    counted: Counted, attack: Attack, threat: Threat, x: Tensor, y: Tensor, generator: Generator
) -> Judged:
    """Attack images that the network has right, on what stands in its place where there is such a thing, and verify the points.

    Args:
        counted: the network.
        attack: with its threat and settings bound.
        threat: the ball of the column.
        x: images.
        y: their labels.
        generator: of the attack.
    """
    minimum_norm = suite.minimum_norm(attack)
    # The point itself, for its distance to be reported; it is clipped below.
    settings = {"clip_to_ball": False} if minimum_norm else {}
    begun = generator.draws if isinstance(generator, ExampleGenerator) else 0
    counted.watch(x)
    with counted.search():
        points = attack(counted, x, y, generator=generator, **settings).detach()
        asked = counted.watched()
    # What is not allowed must not reach the network: one such point may change what it says to others.
    judged = points if minimum_norm else permitted(points, x, threat)
    wrong = mistaken(counted, judged, y)
    early = _fooled_elsewhere(counted, judged, y) & ~wrong
    if early.any():
        # Fooled in the search alone: the attack stopped too early there, so it runs again as it should.
        if isinstance(generator, ExampleGenerator):
            generator.draws = begun
        counted.watch(x[early])
        own = pick(generator, early)
        points[early] = attack(counted, x[early], y[early], generator=own, **settings).detach()
        asked[early] = torch.where(asked[early] < 0, asked[early], asked[early] + counted.watched())
        judged = points if minimum_norm else permitted(points, x, threat)
        wrong = mistaken(counted, judged, y)
    distance = torch.full((len(x),), math.nan, device=x.device)
    if minimum_norm:
        norm = measured_in(attack, threat)
        distance[wrong] = norm.distance(points, x)[wrong].float()
        inside = threat.distance(points, x) <= threat.eps
        points = torch.where(inside[:, None, None, None], points, threat.project(points, x))
        wrong = mistaken(counted, permitted(points, x, threat), y)
    verdict = verify(counted, points, x, y, threat, wrong)
    if not minimum_norm:
        distance[verdict.fooled] = threat.distance(points, x)[verdict.fooled].float()
    counts = (int(each.sum()) for each in (early, verdict.invalid, verdict.unstable))
    return Judged(points, distance.cpu().numpy(), verdict.fooled, asked.cpu().numpy(), *counts)


def _fooled_elsewhere(counted: Counted, points: Tensor, y: Tensor) -> Tensor:
    """Which of the images fool what is attacked in the network's place; all in one batch, as they were attacked."""
    if not counted.elsewhere:
        return torch.zeros_like(y, dtype=torch.bool)
    with counted.search():
        return predictions(counted, points) != y


def measured_in(attack: Attack, threat: Threat) -> Threat:
    """The norm that a minimum-norm attack minimises, in which its distances are reported."""
    if suite.function_name(attack) == "cw_l2":
        return Threat("2", 0.0)
    norm = suite.setting(attack, "norm")
    return threat if norm is None else Threat(norm, 0.0)
