"""natural, pgd_at and trades against the same losses written plainly, in double precision."""

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.defenses.contract import TrainStep
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.noise import ExampleGenerator
from advarch.threat import Threat

DEFENSES: dict[str, Callable] = {"natural": natural, "pgd_at": pgd_at, "trades": trades}
every_defense = pytest.mark.parametrize("name", DEFENSES)
every_mode = pytest.mark.parametrize("mode", ["eval", "train", "train_frozen_stats"])
THREAT = Threat("inf", 0.1)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 16, 5)
        ).double()
    with torch.no_grad():
        net[1].running_mean.uniform_(-0.2, 0.2, generator=torch.Generator().manual_seed(9))
        net[4].weight *= 5
    return net.train()


def batch(count: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(count, 1, 6, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(5, (count,), generator=generator)


class FakeAttack:
    """Shifts every image by a fixed pattern and remembers how it was called."""

    def __init__(self, forwards: int = 0) -> None:
        self.calls: list[dict] = []
        self.forwards = forwards

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        flags = [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
        self.calls.append({"x": x, "y": y, "flags": flags, **options})
        with torch.no_grad():
            for _ in range(self.forwards):
                model(x)
        return self.points(x)

    @staticmethod
    def points(x: Tensor) -> Tensor:
        return (x + 0.1 * torch.cos(torch.arange(36.0, dtype=x.dtype)).view(1, 1, 6, 6)).clamp(0, 1)


def log_softmax(z: Tensor) -> Tensor:
    return z - z.exp().sum(1, keepdim=True).log()


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    return -torch.stack([log_softmax(z)[i, label] for i, label in enumerate(y.tolist())]).sum() / len(y)


def divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    log_p, log_q = log_softmax(p_logits), log_softmax(q_logits)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def plain_natural(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    z = net(x)
    return cross_entropy(z, y), z


def plain_pgd_at(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    z = net(FakeAttack.points(x))
    return cross_entropy(z, y), z


def plain_trades(net: nn.Module, x: Tensor, y: Tensor, beta: float = 6.0) -> tuple[Tensor, Tensor]:
    z, z_adv = net(x), net(FakeAttack.points(x))
    return cross_entropy(z, y) + beta / len(y) * divergence(z, z_adv).sum(), z_adv


PLAIN = {"natural": plain_natural, "pgd_at": plain_pgd_at, "trades": plain_trades}


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def gradients(loss: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters())))


@every_defense
def test_value_logits_and_parameter_gradients_equal_the_plain_loss(name: str) -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    expected, logits = PLAIN[name](twin, x, y)
    output = DEFENSES[name](net, x, y, attack=FakeAttack())
    close(output.total, expected)
    close(output.logits, logits.detach())
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        close(mine, theirs)
        assert theirs.abs().sum() > 0
    assert output.adversarial == (name != "natural")
    assert not output.logits.requires_grad and not any(term.requires_grad for term in output.terms.values())


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_trades_weighs_its_second_term_by_beta(beta: float) -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    output = trades(net, x, y, attack=FakeAttack(), beta=beta)
    expected, _ = plain_trades(twin, x, y, beta)
    close(output.total, expected)
    close(output.total, output.terms["ce"] + beta * output.terms["kl"])
    assert output.terms["kl"] > 0
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        close(mine, theirs)


def test_trades_without_its_second_term_is_natural_training() -> None:
    (x, y), net = batch(), network()
    twin = copy.deepcopy(net)
    smoothed, plain = (
        trades(net, x, y, attack=FakeAttack(), beta=0.0),
        natural(twin, x, y, attack=FakeAttack()),
    )
    assert torch.equal(smoothed.total, plain.total)
    for mine, theirs in zip(gradients(smoothed.total, net), gradients(plain.total, twin), strict=True):
        close(mine, theirs)


def test_named_terms_are_the_parts_of_the_loss() -> None:
    x, y = batch()
    assert set(natural(network(), x, y, attack=FakeAttack()).terms) == {"ce"}
    adversarial = pgd_at(network(), x, y, attack=FakeAttack())
    assert set(adversarial.terms) == {"ce_adv"} and torch.equal(
        adversarial.terms["ce_adv"], adversarial.total
    )
    close(trades(network(), x, y, attack=FakeAttack()).terms["ce"], cross_entropy(network()(x), y).detach())


def test_natural_never_runs_the_attack() -> None:
    attack = FakeAttack()
    natural(network(), *batch(), attack=attack)
    assert attack.calls == []


@pytest.mark.parametrize("defense", [pgd_at, trades])
def test_the_attack_is_run_once_on_the_clean_batch_with_the_generator(defense: Callable) -> None:
    attack, (x, y), generator = FakeAttack(), batch(), torch.Generator().manual_seed(0)
    defense(network(), x, y, attack=attack, step=TrainStep(generator=generator))
    (call,) = attack.calls
    assert torch.equal(call["x"], x) and torch.equal(call["y"], y) and call["generator"] is generator


def test_pgd_at_leaves_the_attack_its_own_objective_and_start() -> None:
    attack = FakeAttack()
    pgd_at(network(), *batch(), attack=attack)
    assert not {"objective", "start"} & set(attack.calls[0])


@every_mode
def test_trades_hands_the_attack_the_divergence_from_the_clean_prediction(mode) -> None:
    attack, (x, y), net = FakeAttack(), batch(), network()
    reference = copy.deepcopy(net)
    reference = reference.eval() if mode == "eval" else reference
    trades(net, x, y, attack=attack, bn_mode=mode)
    objective = attack.calls[0]["objective"]
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gain = objective(z, y)
    assert gain.shape == (7,)
    expected = divergence(reference(x).detach(), z.double())
    torch.testing.assert_close(gain.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(gain, objective(z, y.flip(0))), "the labels play no part"
    (gradient,) = torch.autograd.grad(gain.sum(), z)
    # d KL(p || q) / dz = q - p.
    expected_gradient = z.softmax(1) - reference(x).detach().float().softmax(1)
    torch.testing.assert_close(gradient, expected_gradient.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("std", [0.001, 0.05])
def test_trades_starts_its_attack_from_a_gaussian_of_the_given_width(std: float) -> None:
    attack = FakeAttack()
    trades(network(), *batch(), attack=attack, start_std=std)
    start = attack.calls[0]["start"]
    x = torch.full((300, 1, 4, 4), 0.5, dtype=torch.float64)
    shift = start(x, Threat("inf", 0.4), ExampleGenerator(0, torch.arange(300))) - x
    assert stats.kstest((shift / std).flatten().numpy(), "norm").pvalue > 1e-3
    clipped = start(x, Threat("inf", std / 2), ExampleGenerator(0, torch.arange(300))) - x
    assert math.isclose(float(clipped.abs().max()), std / 2, rel_tol=1e-9)


def test_trades_can_keep_the_attack_s_own_start_but_not_its_objective() -> None:
    attack = FakeAttack()
    trades(network(), *batch(), attack=attack, start_std=None)
    assert "start" not in attack.calls[0] and "objective" in attack.calls[0]


FORWARDS = {
    # forwards in training mode that move the running statistics: of the loss, and with `train` of the crafting.
    ("natural", "eval"): 1,
    ("pgd_at", "eval"): 1,
    ("pgd_at", "train_frozen_stats"): 1,
    ("pgd_at", "train"): 1 + 3,
    ("trades", "eval"): 2,
    ("trades", "train_frozen_stats"): 2,
    ("trades", "train"): 2 + 1 + 3,
}


@pytest.mark.parametrize(("name", "mode"), FORWARDS)
def test_running_statistics_are_moved_by_exactly_the_forwards_that_should(name: str, mode: str) -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    options = {} if name == "natural" else {"bn_mode": mode}
    DEFENSES[name](net, x, y, attack=FakeAttack(forwards=3), **options)
    crafting = [x] * ((name == "trades") + 3) if mode == "train" else []
    losses = {"natural": [x], "pgd_at": [FakeAttack.points(x)], "trades": [x, FakeAttack.points(x)]}[name]
    for images in crafting + losses:
        twin(images)
    assert int(net[1].num_batches_tracked) == FORWARDS[name, mode]
    for mine, theirs in zip(net.buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("mode", "training"), [("eval", False), ("train", True), ("train_frozen_stats", True)]
)
@pytest.mark.parametrize("defense", [pgd_at, trades])
def test_the_attack_sees_the_asked_mode_and_frozen_parameters(
    defense: Callable, mode: str, training: bool
) -> None:
    attack = FakeAttack()
    defense(network(), *batch(), attack=attack, bn_mode=mode)
    modules, parameters = attack.calls[0]["flags"]
    assert modules == [training] * len(modules) and not any(parameters)


@every_mode
@every_defense
def test_flags_are_restored_also_when_the_attack_fails(name: str, mode: str) -> None:
    net = network()
    net[1].eval()
    net[0].bias.requires_grad_(False)
    before = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    options = {} if name == "natural" else {"bn_mode": mode}
    DEFENSES[name](net, *batch(), attack=FakeAttack(), **options)
    assert ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]) == before

    def fails(*args, **kwargs):
        raise ZeroDivisionError

    if name != "natural":
        with pytest.raises(ZeroDivisionError):
            DEFENSES[name](net, *batch(), attack=fails, **options)
    assert ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]) == before


@every_mode
@pytest.mark.parametrize("defense", [pgd_at, trades])
def test_with_a_real_attack_the_loss_is_larger_than_at_the_clean_images(defense: Callable, mode: str) -> None:
    x, y = batch(20)
    attack = partial(pgd, threat=THREAT, steps=5, step_size=0.05)
    clean = defense(network(), x, y, attack=lambda model, x, y, **_: x, bn_mode="eval").total
    generator = ExampleGenerator(0, torch.arange(20))
    assert (
        defense(network(), x, y, attack=attack, bn_mode=mode, step=TrainStep(generator=generator)).total
        > clean + 0.01
    )


@pytest.mark.parametrize("defense", [pgd_at, trades])
def test_the_same_generator_gives_the_same_loss(defense: Callable) -> None:
    attack = partial(pgd, threat=THREAT, steps=2, step_size=0.05)
    totals = [
        defense(
            network(), *batch(), attack=attack, step=TrainStep(generator=torch.Generator().manual_seed(seed))
        ).total
        for seed in (1, 1, 2)
    ]
    assert totals[0] == totals[1] != totals[2]
