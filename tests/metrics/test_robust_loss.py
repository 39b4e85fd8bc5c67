"""The loss that studies look at: equal to what the defenses minimise, image by image."""

from functools import partial

import pytest
import torch
from torch import nn

from advarch.attacks.pgd import pgd
from advarch.defenses.contract import TrainStep
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.errors import InputError
from advarch.metrics.robust_loss import adversarial, losses
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat

ATTACK = partial(pgd, threat=Threat("inf", 0.1), steps=2, step_size=0.05)


def given() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
        return net, torch.rand(7, 1, 4, 4), torch.arange(7) % 3


@pytest.mark.parametrize("beta", [None, 6.0])
def test_it_is_what_the_defense_minimises_whatever_the_batch_size(beta: float | None) -> None:
    net, x, y = given()
    generator = ExampleGenerator(derive_seed(5, "study"), torch.arange(7))
    step = TrainStep(generator=generator)
    defense = pgd_at if beta is None else partial(trades, beta=beta)
    expected = defense(net, x, y, attack=ATTACK, step=step).total
    for batch_size in (3, 7):
        x_adv = adversarial(net, x, y, attack=ATTACK, trades_beta=beta, batch_size=batch_size, seed=5)
        found = losses(net, x, x_adv, y, trades_beta=beta)
        assert found.shape == (7,)
        torch.testing.assert_close(found.mean(), expected)
        assert not torch.equal(x_adv, x)


def test_without_an_attack_the_images_are_the_clean_ones_and_trades_is_refused() -> None:
    net, x, y = given()
    assert adversarial(net, x, y, attack=None, batch_size=2, seed=0) is x
    with pytest.raises(InputError, match="trades_beta: expected an attack with it, came 6 alone"):
        adversarial(net, x, y, attack=None, trades_beta=6.0, batch_size=2, seed=0)
