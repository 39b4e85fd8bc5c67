"""Attacks of an evaluation on the network's copy: the same verdicts, and no copy where it would be another network."""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.apgd import apgd
from advarch.attacks.attack_copy import AttackCopy
from advarch.attacks.fab import fab_t
from advarch.attacks.sequence import sequence
from advarch.attacks.square import square
from advarch.evaluation.copied import copied
from advarch.evaluation.evaluate import Run, evaluate
from advarch.evaluation.outcomes import COST, RIGHT, Outcome
from advarch.evaluation.suite import parts
from advarch.modes import attack_mode
from advarch.threat import Threat
from advarch.types import Attack, Batch
from tests.evaluation import nets

THREAT = Threat("inf", 0.1)
ALL = partial(
    sequence,
    attacks={
        "apgd": partial(apgd, threat=THREAT, steps=10, step_size=0.2),
        "fab": partial(fab_t, threat=THREAT, steps=5),
        "square": partial(square, threat=THREAT, queries=60),
    },
)


def normed() -> nn.Sequential:
    """The sound network with batch normalisation that does something behind each convolution."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in copy.deepcopy(nets.sound_net()):
            layers.append(layer)
            if isinstance(layer, nn.Conv2d):
                norm = nn.BatchNorm2d(layer.out_channels)
                assert norm.running_mean is not None and norm.running_var is not None
                nn.init.normal_(norm.running_mean, std=0.1)
                nn.init.uniform_(norm.running_var, 0.8, 1.2)
                layers.append(norm)
    return nn.Sequential(*layers).eval()


class Around(nn.Module):
    """That network, and what a forward pass does with it."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.does = normed(), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self.net, x)


def noisy(net: nn.Module, x: Tensor) -> Tensor:
    return net(x + 0.001 * torch.randn(1, 8, 8))


def half_hidden(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        still = 0.5 * x
    return net(still + 0.5 * x)


def hidden(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


def outcome(net: nn.Module, attack: Attack = ALL, **how: bool) -> Outcome:
    x, y = nets.digits()
    batches = [Batch(x[part], y[part], part) for part in torch.arange(100).split(64)]
    clean, found = (Outcome.unknown(np.arange(100), names) for names in ((), tuple(parts(attack))))
    evaluate(net, batches, Run("clean", None, THREAT, 0), clean)
    evaluate(net, batches, Run("a", attack, THREAT, 0, **how), found, standing=clean.correct == RIGHT)
    return found


def test_verdicts_and_queries_on_the_copy_are_those_on_the_network() -> None:
    plain, fast = outcome(normed()), outcome(normed(), fast=True)
    assert 10 < (plain.correct == RIGHT).sum() < 90
    assert np.array_equal(fast.correct, plain.correct) and np.array_equal(fast.felled_by, plain.felled_by)
    assert np.array_equal(fast.queries, plain.queries)
    assert fast.cost[COST.index("searched")] == plain.cost[COST.index("searched")] == 0


def test_the_copy_is_asked_and_the_network_gives_the_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    net, asked = normed(), []
    monkeypatch.setattr(
        "advarch.evaluation.evaluate.copied",
        lambda model: lambda x: asked.append(len(x)) or -model(x),
    )
    plain, fast = outcome(normed()), outcome(net, fast=True)
    assert asked and np.array_equal(fast.correct, plain.correct)
    assert fast.cost[COST.index("searched")] > 0


def test_new_weights_make_a_new_copy() -> None:
    net = normed()
    outcome(net, fast=True)
    with torch.no_grad():
        net[0].weight.mul_(0.5)
    changed = normed()
    changed.load_state_dict(net.state_dict())
    assert np.array_equal(outcome(net, fast=True).correct, outcome(changed).correct)


def test_logits_and_gradients_of_the_copy_are_the_network_s() -> None:
    net, x = normed(), torch.rand(5, 1, 8, 8)
    with attack_mode(net):
        fast = copied(net)
        for given in (x, torch.rand(1, 1, 8, 8)):
            logits = [model(given.requires_grad_()) for model in (net, fast)]
            slopes = [torch.autograd.grad(each.square().sum(), given)[0] for each in logits]
            torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-3, atol=1e-4)
            assert not torch.equal(logits[1], logits[0])


@pytest.mark.parametrize("does", [noisy, half_hidden, hidden])
def test_a_network_that_its_trace_is_not_is_attacked_itself(
    does: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    net, x = Around(does).eval(), torch.rand(5, 1, 8, 8)
    with attack_mode(net):
        assert AttackCopy(net).held, "there would be a copy"
        fast = copied(net)
        before = torch.get_rng_state()
        fast(x)
        torch.set_rng_state(before)
        expected = net(x)
        torch.set_rng_state(before)
        assert torch.equal(fast(x), expected)
    assert fast.__closure__ is not None and net in [cell.cell_contents for cell in fast.__closure__]


def test_the_comparison_draws_none_of_the_network_s_random_numbers() -> None:
    net, x = Around(noisy).eval(), torch.rand(5, 1, 8, 8)
    with attack_mode(net):
        torch.manual_seed(3)
        expected = net(x)
        torch.manual_seed(3)
        assert torch.equal(copied(net)(x), expected)
