"""PGD with a radius for each image against PGD run on each image alone."""

import pytest
import torch

from advarch.attacks.instance_pgd import instance_pgd
from advarch.attacks.pgd import pgd
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.attacks.small_nets import Linear

RADII = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.3], dtype=torch.float64)


def scene() -> tuple:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(5, 3, 4, 4, generator=generator, dtype=torch.float64)
    return Linear(3), x, torch.arange(5) % 3


@pytest.mark.parametrize("norm", ["inf", 2])
def test_each_image_has_its_own_ball_and_step(norm) -> None:
    model, x, y = scene()
    found = instance_pgd(
        model, x, y, threat=Threat(norm, 0.5), steps=4, step_size=0.02, eps=RADII, generator=ExampleGenerator(1, torch.arange(5))
    )  # fmt: skip
    for i, eps in enumerate(RADII.tolist()):
        single = pgd(
            model, x[i : i + 1], y[i : i + 1], threat=Threat(norm, eps), steps=4, step_size=max(eps / 2, 0.02),
            generator=ExampleGenerator(1, torch.tensor([i])),
        )  # fmt: skip
        torch.testing.assert_close(found[i : i + 1], single, rtol=0, atol=1e-12)
    distance = Threat(norm, 0.5).distance(found, x)
    assert (distance <= RADII + 1e-12).all() and distance[-1] > 0.1 > 0 == distance[0]


def test_without_radii_all_have_the_threat_s() -> None:
    model, x, y = scene()
    settings = {"threat": Threat("inf", 0.1), "steps": 4, "generator": ExampleGenerator(1, torch.arange(5))}
    found = instance_pgd(model, x, y, step_size=0.02, **settings)
    torch.testing.assert_close(found, pgd(model, x, y, step_size=0.05, **settings), rtol=0, atol=1e-12)


def test_the_threat_itself_keeps_its_radius() -> None:
    threat = Threat("inf", 0.1)
    each = threat.with_radii(RADII)
    assert threat.eps == 0.1 and each.norm == threat.norm
    point = each.project(
        torch.ones(5, 1, 1, 1, dtype=torch.float64), torch.full((5, 1, 1, 1), 0.5, dtype=torch.float64)
    )
    torch.testing.assert_close(point.flatten() - 0.5, RADII, rtol=0, atol=1e-15)
