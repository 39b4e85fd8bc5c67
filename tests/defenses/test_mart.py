"""MART against its equation written plainly, in double precision."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from advarch.defenses.contract import TrainStep
from advarch.defenses.mart import mart
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.defenses.test_losses import FakeAttack, batch, close, gradients, network


def plain_mart(net: nn.Module, x: Tensor, y: Tensor, beta: float = 6.0) -> tuple[Tensor, Tensor]:
    """Image by image, class by class, as the paper and the constants of its code say."""
    z, z_adv = net(x), net(FakeAttack.points(x))
    total = torch.zeros((), dtype=z.dtype)
    for row, row_adv, label in zip(z, z_adv, y.tolist(), strict=True):
        p, q = row.exp() / row.exp().sum(), row_adv.exp() / row_adv.exp().sum()
        others = [q[k] for k in range(len(q)) if k != label]
        bce = -torch.log(q[label]) - torch.log(1.0001 - max(others) + 1e-12)
        kl = sum(p[k] * (torch.log(p[k]) - torch.log(q[k] + 1e-12)) for k in range(len(p)))
        total = total + bce + beta * kl * (1.0000001 - p[label])
    return total / len(y), z_adv


PLAIN = {"mart": plain_mart}


@pytest.mark.parametrize("beta", [0.0, 5.0, 6.0])
def test_value_and_gradients_equal_the_plain_loss(beta: float) -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    output = mart(net, x, y, attack=FakeAttack(), beta=beta)
    expected, logits = plain_mart(twin, x, y, beta)
    close(output.total, expected)
    close(output.logits, logits.detach())
    close(output.total.detach(), output.terms["bce"] + beta * output.terms["kl"])
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        close(mine, theirs)
        assert theirs.abs().sum() > 0
    assert output.adversarial and not output.logits.requires_grad
    assert not any(term.requires_grad for term in output.terms.values())


def test_without_its_second_term_the_clean_images_play_no_part() -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    output = mart(net, x, y, attack=FakeAttack(), beta=0.0)
    q = twin(FakeAttack.points(x)).softmax(1)
    largest = torch.stack(
        [torch.cat([row[:k], row[k + 1 :]]).max() for row, k in zip(q, y.tolist(), strict=True)]
    )
    expected = -(q[torch.arange(len(y)), y].log() + torch.log(1.0001 - largest + 1e-12)).mean()
    close(output.total, expected)
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        close(mine, theirs)


class Given(nn.Module):
    """Logits that don't depend on the network: those of the clean images first, then those of the others."""

    def __init__(self, *logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.ParameterList([nn.Parameter(value) for value in logits])
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.logits[self.calls - 1]


def test_a_saturated_network_has_a_finite_loss_and_gradient_in_single_precision() -> None:
    net = Given(torch.tensor([[300.0, 0.0, 0.0]]), torch.tensor([[0.0, 300.0, 0.0]]))
    output = mart(net, torch.zeros(1, 1, 2, 2), torch.tensor([0]), attack=lambda model, x, y, **_: x)
    output.total.backward()
    assert torch.isfinite(output.total)
    # -log q_y = 300; -log(1.0001 - 1) = 9.21; and 1 - p_y, here 0 but for the code's 1e-7, leaves nothing of the KL.
    assert float(output.total.detach()) == pytest.approx(300 - math.log(1e-4), rel=1e-3)
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.logits)


def test_in_half_precision_the_constants_do_not_vanish() -> None:
    z, z_adv = torch.tensor([[4.0, 0.0, 1.0]]), torch.tensor([[0.0, 12.0, 1.0]])
    y, x = torch.tensor([0]), torch.zeros(1, 1, 2, 2)
    found = [
        mart(Given(z.to(kind), z_adv.to(kind)), x, y, attack=lambda model, x, y, **_: x).total.detach()
        for kind in (torch.float64, torch.bfloat16)
    ]
    assert float(found[1]) == pytest.approx(float(found[0]), rel=1e-4)


@pytest.mark.parametrize("std", [0.001, 0.05])
def test_the_attack_starts_from_a_gaussian_of_the_given_width(std: float) -> None:
    attack, generator = FakeAttack(), torch.Generator().manual_seed(0)
    x, y = batch()
    mart(network(), x, y, attack=attack, start_std=std, step=TrainStep(generator=generator))
    (call,) = attack.calls
    assert torch.equal(call["x"], x) and torch.equal(call["y"], y) and call["generator"] is generator
    assert "objective" not in call, "the attack keeps its own, the cross entropy"
    middle = torch.full((300, 1, 4, 4), 0.5, dtype=torch.float64)
    shift = call["start"](middle, Threat("inf", 0.4), ExampleGenerator(0, torch.arange(300))) - middle
    assert float(shift.std()) == pytest.approx(std, rel=0.03) and float(shift.mean()) == pytest.approx(
        0, abs=std / 20
    )


def test_the_attack_can_keep_its_own_start() -> None:
    attack = FakeAttack()
    mart(network(), *batch(), attack=attack, start_std=None)
    assert "start" not in attack.calls[0]


@pytest.mark.parametrize(("mode", "moved"), [("eval", 2), ("train_frozen_stats", 2), ("train", 2 + 3)])
def test_running_statistics_are_moved_by_two_forwards_and_the_crafting_that_should(
    mode: str, moved: int
) -> None:
    net = network()
    mart(net, *batch(), attack=FakeAttack(forwards=3), bn_mode=mode)
    assert int(net[1].num_batches_tracked) == moved
