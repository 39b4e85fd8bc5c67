"""Attacks of an evaluation on the network's copy: the same verdicts, and no copy where it would be another network."""

import copy
import random
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.agreement import agree
from advarch.attacks.apgd import apgd
from advarch.attacks.attack_copy import AttackCopy
from advarch.attacks.fab import fab_t
from advarch.attacks.sequence import sequence
from advarch.attacks.square import square
from advarch.evaluation.copied import copied
from advarch.evaluation.evaluate import Run, evaluate
from advarch.evaluation.outcomes import COST, RIGHT, Outcome, result
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


def seldom(net: nn.Module, x: Tensor) -> Tensor:
    return net(x.flip(-1) if random.random() < 1e-9 else x)


def drawing(net: nn.Module, x: Tensor) -> Tensor:
    return net(x + 0 * np.random.rand())  # noqa: NPY002


def half_hidden(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        still = 0.5 * x
    return net(still + 0.5 * x)


def hidden(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


def own_autocast(net: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return net(x.bfloat16())


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
    assert (
        result("a", fast, "").copied
        == result("a", fast, "").attacked
        == fast.cost[COST.index("attacked")]
        > 0
    )
    assert result("a", plain, "").copied == 0


def test_the_copy_is_asked_and_the_network_gives_the_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def wrong(model: nn.Module, x: Tensor, bf16: bool) -> Callable[[Tensor], Tensor]:
        return lambda x: asked.append(len(x)) or -model(x)

    monkeypatch.setattr("advarch.evaluation.evaluate.copied", wrong)
    plain, fast = outcome(normed()), outcome(normed(), fast=True)
    assert asked and np.array_equal(fast.correct, plain.correct)
    # At the end as during the attack all images of a batch together: near a boundary another size is another label.
    attacked = [sum(plain.queries[part] > 0) for part in torch.arange(100).split(64)]
    assert set(attacked) <= set(asked)
    assert fast.cost[COST.index("searched")] > 0


def test_without_a_copy_nothing_is_asked_that_was_not_before() -> None:
    net = Around(noisy).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = outcome(net)
        torch.manual_seed(0)
        fast = outcome(net, fast=True)
    seconds = COST.index("seconds")
    assert [c for k, c in enumerate(fast.cost) if k != seconds] == [
        c for k, c in enumerate(plain.cost) if k != seconds
    ]
    assert np.array_equal(fast.correct, plain.correct)


def test_each_evaluation_s_copy_has_the_weights_of_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, made = normed(), torch.rand(3, 1, 8, 8), []
    monkeypatch.setattr(
        "advarch.evaluation.evaluate.copied", lambda model, x, bf16: made.append(copied(model, x)) or made[-1]
    )
    for _ in range(2):
        with torch.no_grad():
            net[0].weight.mul_(0.5)
        outcome(net, fast=True)
        torch.testing.assert_close(made[-1](x), net(x), rtol=1e-4, atol=1e-5)
    assert len(made) == 2


def test_logits_and_gradients_of_the_copy_are_the_network_s() -> None:
    net, x = normed(), torch.rand(5, 1, 8, 8)
    with attack_mode(net):
        fast = copied(net, x)
        assert fast is not None
        for given in (x, torch.rand(1, 1, 8, 8)):
            logits = [model(given.requires_grad_()) for model in (net, fast)]
            slopes = [torch.autograd.grad(each.square().sum(), given)[0] for each in logits]
            torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-3, atol=1e-4)
            assert not torch.equal(logits[1], logits[0])


@pytest.mark.parametrize("does", [noisy, seldom, drawing, half_hidden, hidden, own_autocast])
def test_a_network_that_its_trace_is_not_is_attacked_itself(
    does: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    net, x = Around(does).eval(), torch.rand(5, 1, 8, 8)
    with attack_mode(net):
        assert AttackCopy(net).held, "there would be a copy"
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
        assert copied(net, x) is None
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2][1])  # noqa: NPY002


def test_one_image_of_many_on_which_the_copy_differs_is_enough() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net(x) * (1 + x.detach()[:, :, 0, 0].gt(2).float())

    net, x = Around(forward).eval(), torch.rand(32, 1, 8, 8)
    with attack_mode(net):
        copy = copied(net, x)
        assert copy is not None and agree(copy, net, x)
        x[7, 0, 0, 0] = 3.0
        assert agree(copy, net, x) and not agree(lambda given: copy(given.clamp(max=1)), net, x)
