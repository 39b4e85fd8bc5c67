"""Smoothed labels in the losses of defenses, against the definition."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from advarch.defenses.contract import TrainStep
from advarch.defenses.fast import fast
from advarch.defenses.fat import fat
from advarch.defenses.fat_trades import fat_trades
from advarch.defenses.iaat import IAAT
from advarch.defenses.label_smoothing import smoothed_cross_entropy
from advarch.defenses.n_fgsm import n_fgsm
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.threat import Threat
from tests.defenses.test_losses import (
    FakeAttack,
    batch,
    close,
    divergence,
    log_softmax,
    network,
)


def plain(z: Tensor, y: Tensor, smoothing: float) -> Tensor:
    """Cross entropy to the target (1 - s) onehot(y) + s/K."""
    target = torch.full_like(z, smoothing / z.shape[1])
    target[torch.arange(len(y)), y] += 1 - smoothing
    return -(target * log_softmax(z)).sum() / len(y)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_it_is_the_cross_entropy_to_a_mixed_target(smoothing: float) -> None:
    net, (x, y) = network(), batch()
    z = net(x)
    close(smoothed_cross_entropy(z, y, smoothing), plain(z, y, smoothing))
    assert smoothed_cross_entropy(z, y) == smoothed_cross_entropy(z, y, 0.0)


def fixed(at: Tensor) -> Callable:
    """An attack that always ends there, whatever it is asked."""

    def attack(
        model: object, x: Tensor, y: Tensor, *, eps: object = None, tau: int = 0, **_: object
    ) -> Tensor:
        return at

    return attack


def test_friendly_and_adaptive_training_smooth_theirs() -> None:
    net, (x, y) = network(), batch()
    at = FakeAttack.points(x)
    step = TrainStep(index=torch.arange(len(y)), epoch=5.0, epochs=10)
    iaat = IAAT(eps=0.1, gamma=0.02, label_smoothing=0.2)
    iaat.start(images=len(y), device=x.device, rank=0, world_size=1)
    iaat.radii = iaat.radii.to(x)
    for output in (
        fat(net, x, y, attack=fixed(at), label_smoothing=0.2, step=step),
        iaat(net, x, y, attack=fixed(at), step=step),
    ):
        close(output.total, plain(net(at), y, 0.2))
    output = fat_trades(net, x, y, attack=fixed(at), beta=2.0, label_smoothing=0.2, step=step)
    close(output.total, plain(net(x), y, 0.2) + 2.0 / len(y) * divergence(net(x), net(at)).sum())


@pytest.mark.parametrize("defense", [partial(fast, step_size=0.0), partial(n_fgsm, noise=0.0, step_size=0.0)])
def test_one_step_training_smooths_its_cross_entropy(defense: Callable) -> None:
    net, (x, y) = network(), batch()
    output = defense(net, x, y, threat=Threat("inf", 0.0), label_smoothing=0.2)
    close(output.total, plain(net(x), y, 0.2))


@pytest.mark.parametrize(
    "defense", [natural, pgd_at, partial(trades, beta=2.0)], ids=["natural", "pgd_at", "trades"]
)
def test_a_defense_smooths_its_cross_entropy_alone(defense: Callable) -> None:
    net, (x, y) = network(), batch()
    attack = FakeAttack()
    output = defense(net, x, y, attack=attack, label_smoothing=0.2)
    z, z_adv = net(x), net(FakeAttack.points(x))
    expected = {
        natural: lambda: plain(z, y, 0.2),
        pgd_at: lambda: plain(z_adv, y, 0.2),
    }.get(defense, lambda: plain(z, y, 0.2) + 2.0 / len(y) * divergence(z, z_adv).sum())  # fmt: skip
    close(output.total, expected())
    # The inner problem keeps the attack's own objective, or TRADES' KL.
    assert all(("objective" in call) == isinstance(defense, partial) for call in attack.calls)
