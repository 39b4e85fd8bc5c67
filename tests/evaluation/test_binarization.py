"""The binarisation test passes attacks that work, fails those that don't, and catches a masked gradient."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.errors import InputError
from advarch.evaluation.binarization import Strength, binarization
from advarch.threat import Threat
from advarch.types import Attack, Batch
from tests.evaluation import nets

THREAT = Threat("inf", 0.1)
STRONG: Attack = partial(pgd, threat=THREAT, steps=40, step_size=0.01)


def strength(attack: Attack, net: nn.Module) -> Strength:
    x, y = nets.digits()
    batches = [Batch(x[:30], y[:30], torch.arange(30))]
    return binarization(net, batches, "a", attack, threat=THREAT, seed=0, count=20)


def test_a_working_attack_finds_what_was_planted_and_chance_does_not() -> None:
    net = nets.sound_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = strength(STRONG, net)
    assert found.images == 20 and found.found >= 19 and found.found_at_random < 10 and found.passed
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def idle(model: Any, x: Tensor, y: Tensor, /, **kwargs: Any) -> Tensor:
    return x


def test_an_attack_that_does_nothing_finds_nothing() -> None:
    found = strength(idle, nets.sound_net())
    assert found.found == 0 and not found.passed


def test_points_outside_the_ball_do_not_count() -> None:
    far: Attack = partial(pgd, threat=Threat("inf", 0.5), steps=40, step_size=0.05)
    assert strength(far, nets.sound_net()).found == 0


def test_gradients_that_are_masked_fail_the_test() -> None:
    assert not strength(
        partial(pgd, threat=THREAT, steps=40, step_size=0.01, start=None), nets.Quantised()
    ).passed


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(InputError, match="linear layer"):
        strength(STRONG, nn.Flatten())
