"""fat, fat_trades and fat_mart: the tau of each epoch, and what they are when tau is all steps."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.friendly_pgd import friendly_pgd
from advarch.attacks.pgd import pgd
from advarch.defenses.contract import TrainStep
from advarch.defenses.fat import fat
from advarch.defenses.fat_mart import fat_mart
from advarch.defenses.fat_trades import fat_trades
from advarch.defenses.mart import mart
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.errors import InputError
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.defenses.test_losses import (
    FakeAttack,
    batch,
    gradients,
    log_softmax,
    network,
    plain_pgd_at,
    plain_trades,
)


def plain_mart(net: nn.Module, x: Tensor, y: Tensor, beta: float = 6.0) -> tuple[Tensor, Tensor]:
    """Wang et al. 2020 image by image, with the constants of the authors' code."""
    z, z_adv = net(x), net(FakeAttack.points(x))
    total = torch.zeros((), dtype=x.dtype)
    for p, q, label in zip(log_softmax(z).exp(), log_softmax(z_adv).exp(), y.tolist(), strict=True):
        others = max(q[k] for k in range(len(q)) if k != label)
        divergence = sum(p[k] * (p[k].log() - (q[k] + 1e-12).log()) for k in range(len(q)))
        total = (
            total
            - q[label].log()
            - (1.0001 - others + 1e-12).log()
            + beta * divergence * (1.0000001 - p[label])
        )
    return total / len(y), z_adv


PLAIN = {"fat": plain_pgd_at, "fat_trades": plain_trades, "fat_mart": plain_mart}
PAIRS: dict[Callable, Callable] = {fat: pgd_at, fat_trades: trades, fat_mart: mart}
SETTINGS = {"threat": Threat("inf", 0.1), "steps": 4, "step_size": 0.03}
every_pair = pytest.mark.parametrize(("friendly", "harsh"), PAIRS.items(), ids=lambda f: f.__name__)


def moment(count: int, epoch: float = 0.0, epochs: int = 1) -> TrainStep:
    return TrainStep(torch.arange(count), float(epoch), epochs, ExampleGenerator(3, torch.arange(count)))


@every_pair
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_with_tau_of_all_steps_loss_and_gradients_are_the_ordinary_ones_to_the_bit(
    friendly: Callable, harsh: Callable, mode: str
) -> None:
    net, (x, y) = network(), batch(20)
    twin = copy.deepcopy(net)
    mine = friendly(
        net, x, y, attack=partial(friendly_pgd, **SETTINGS), taus=[4], milestones=[], bn_mode=mode, step=moment(20)
    )  # fmt: skip
    theirs = harsh(twin, x, y, attack=partial(pgd, **SETTINGS), bn_mode=mode, step=moment(20))
    assert torch.equal(mine.total, theirs.total) and torch.equal(mine.logits, theirs.logits)
    for a, b in zip(gradients(mine.total, net), gradients(theirs.total, twin), strict=True):
        assert torch.equal(a, b) and b.abs().sum() > 0


@every_pair
def test_with_a_small_tau_the_images_are_friendlier(friendly: Callable, harsh: Callable) -> None:
    x, y = batch(40)
    attack = partial(friendly_pgd, **SETTINGS)
    totals = [
        friendly(network(), x, y, attack=attack, taus=[tau], milestones=[], step=moment(40)).total.item()
        for tau in (0, 4)
    ]
    assert totals[0] < totals[1] - 0.01


TAUS = {
    # (epochs of the run, 0-based epoch): tau, from the authors' adjust_tau, whose epochs count from 1.
    fat: {(120, 0): 0, (120, 49): 0, (120, 50): 1, (120, 89): 1, (120, 90): 2, (120, 119): 2, (12, 5): 1},
    fat_trades: {(85, 29): 0, (85, 30): 1, (85, 49): 1, (85, 50): 2, (85, 69): 2, (85, 70): 3, (85, 84): 3},
    fat_mart: {(90, 19): 0, (90, 20): 1, (90, 40): 2, (90, 60): 3, (90, 79): 3, (90, 80): 4, (90, 89): 4},
}


@pytest.mark.parametrize(
    ("defense", "epochs", "epoch", "tau"),
    [(defense, *when, tau) for defense, table in TAUS.items() for when, tau in table.items()],
)
def test_tau_follows_the_authors_table(defense: Callable, epochs: int, epoch: int, tau: int) -> None:
    for within in (0.0, 0.5, 0.999):
        attack = FakeAttack()
        defense(network(), *batch(), attack=attack, step=moment(7, epoch + within, epochs))
        assert attack.calls[0]["tau"] == tau


def test_whole_numbers_are_epochs_whatever_the_length_of_the_run() -> None:
    attack = FakeAttack()
    for epoch in (1, 2, 3):
        step = moment(7, epoch, 1000)
        fat(network(), *batch(), attack=attack, taus=[5, 6], milestones=[2.0], step=step)
    assert [call["tau"] for call in attack.calls] == [5, 6, 6]


@every_pair
def test_what_can_t_be_honoured_is_refused_by_name(friendly: Callable, harsh: Callable) -> None:
    with pytest.raises(InputError, match=r"came pgd; set attack=friendly_pgd"):
        friendly(network(), *batch(), attack=partial(pgd, **SETTINGS))
    with pytest.raises(InputError, match=r"defense\.taus: .* came 2 and 2"):
        friendly(network(), *batch(), attack=FakeAttack(), taus=[0, 1], milestones=[1.0, 2.0])


@pytest.mark.parametrize("friendly", PAIRS)
def test_value_and_gradients_equal_the_plain_loss_at_the_attack_s_images(friendly: Callable) -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    expected, logits = PLAIN[friendly.__name__](twin, x, y)
    output = friendly(net, x, y, attack=FakeAttack(), step=moment(7))
    torch.testing.assert_close(output.total, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(output.logits, logits.detach(), rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
