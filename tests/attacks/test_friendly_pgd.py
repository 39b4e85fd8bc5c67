"""Early-stopped PGD against PGD, and against its rule played image by image."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from advarch.attacks.friendly_pgd import friendly_pgd
from advarch.attacks.objectives import cross_entropy, kl_to
from advarch.attacks.pgd import pgd
from advarch.noise import ExampleGenerator
from advarch.threat import Threat, gaussian_start, input_gradient
from tests.attacks.small_nets import Linear

THREAT = Threat("inf", 0.2)
SETTINGS = {"threat": THREAT, "steps": 8, "step_size": 0.04}


def scene(count: int = 30) -> tuple[Linear, Tensor, Tensor]:
    """Images on both sides of a linear boundary, some misclassified from the beginning."""
    model = Linear(3)
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(count, 3, 4, 4, generator=generator, dtype=torch.float64)
    y = model(x).argmax(1)
    y[::7] = (y[::7] + 1) % 3
    return model, x, y


def streams(index: Tensor | int) -> ExampleGenerator:
    return ExampleGenerator(4, torch.arange(index) if isinstance(index, int) else index)


def alone(model: Linear, x: Tensor, y: Tensor, tau: int, start: Tensor) -> tuple[Tensor, list[bool]]:
    """The rule for one image, in plain words; and whether it was misclassified at each of its iterates."""
    x_adv, left, fooled = start, tau, []
    for _ in range(SETTINGS["steps"]):
        fooled.append(bool(model(x_adv).argmax(1) != y))
        if fooled[-1]:
            if left == 0:
                return x_adv, fooled
            left -= 1
        gradient, _ = input_gradient(model, x_adv, y, cross_entropy)
        x_adv = torch.min(torch.max(x_adv + SETTINGS["step_size"] * gradient.sign(), x - 0.2), x + 0.2).clamp(
            0, 1
        )
    return x_adv, [*fooled, bool(model(x_adv).argmax(1) != y)]


@pytest.mark.parametrize("tau", [0, 1, 3])
def test_each_image_follows_the_rule_of_one_image(tau: int) -> None:
    model, x, y = scene()
    found = friendly_pgd(model, x, y, tau=tau, start=None, **SETTINGS)
    lengths = set()
    for i in range(len(x)):
        expected, fooled = alone(model, x[i : i + 1], y[i : i + 1], tau, x[i : i + 1])
        torch.testing.assert_close(found[i : i + 1], expected, rtol=0, atol=1e-12)
        lengths.add(len(fooled))
    assert len(lengths) >= 3, "images stopped after the same number of steps"


@pytest.mark.parametrize("tau", [8, 20])
@pytest.mark.parametrize("start", [None, gaussian_start])
def test_with_tau_of_all_steps_it_is_pgd_to_the_bit(tau: int, start) -> None:
    model, x, y = scene()
    mine = friendly_pgd(model, x, y, tau=tau, start=start, generator=streams(len(x)), **SETTINGS)
    assert torch.equal(mine, pgd(model, x, y, start=start, generator=streams(len(x)), **SETTINGS))


def test_it_is_friendlier_the_smaller_tau() -> None:
    model, x, y = scene()
    attack = partial(friendly_pgd, model, x, y, generator=streams(len(x)), **SETTINGS)
    with torch.no_grad():
        losses = [float(cross_entropy(model(attack(tau=tau)), y).mean()) for tau in (0, 1, 2, 8)]
    assert losses == sorted(losses) and losses[0] < losses[-1]


def test_an_image_fooled_at_its_start_stays_there_and_one_that_stands_takes_all_steps() -> None:
    model, x, y = scene()
    with torch.no_grad():
        wrong = model(x).argmax(1) != y
    found = friendly_pgd(model, x, y, start=None, threat=Threat("inf", 1e-6), steps=5, step_size=1e-6)
    assert wrong.any() and torch.equal(found[wrong], x[wrong])
    assert ((found[~wrong] - x[~wrong]).abs().amax((1, 2, 3)) > 0).all()


def test_the_divergence_keeps_to_its_image_while_others_leave() -> None:
    model, x, y = scene()
    reference = model(x + 0.05).detach()
    attack = partial(friendly_pgd, model, start=gaussian_start, **SETTINGS)
    whole = attack(x, y, objective=kl_to(reference), generator=streams(len(x)))
    for i in (0, 3, 11, 29):
        index = torch.tensor([i])
        single = attack(x[index], y[index], objective=kl_to(reference[index]), generator=streams(index))
        torch.testing.assert_close(whole[index], single, rtol=0, atol=1e-12)


def test_noise_is_of_the_given_width_fresh_at_each_step_and_an_image_s_own() -> None:
    x = torch.full((400, 1, 3, 3), 0.5, dtype=torch.float64)
    y, flat = (
        torch.zeros(400, dtype=torch.long),
        lambda x: 0.0 * x.flatten(1)[:, :2] + torch.tensor([1.0, 0.0]),
    )
    attack = partial(friendly_pgd, flat, threat=THREAT, step_size=0.0, noise_std=0.01, start=None)
    one, four = (attack(x, y, steps=steps, generator=streams(400)) - 0.5 for steps in (1, 4))
    assert math.isclose(float(one.std()), 0.01, rel_tol=0.05)
    assert math.isclose(float(four.std()), 0.02, rel_tol=0.05)
    part = torch.tensor([7, 300])
    single = attack(x[part], y[part], steps=4, generator=streams(part)) - 0.5
    torch.testing.assert_close(four[part], single, rtol=0, atol=1e-12)
