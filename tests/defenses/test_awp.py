"""AWP against its equations written plainly: the perturbation, the loss and gradient at w + v, the way back."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from advarch.defenses.awp import AWP, layer_perturbation
from advarch.defenses.contract import AfterBackward, TrainStep
from advarch.defenses.fast import fast
from advarch.defenses.free import Free
from advarch.defenses.mart import mart
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.layers.auxiliary import auxiliary_loss, collecting
from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat
from tests.defenses.test_losses import (
    FakeAttack,
    batch,
    close,
    gradients,
    network,
    plain_pgd_at,
    plain_trades,
)
from tests.defenses.test_mart import plain_mart
from tests.layers.test_auxiliary import TwoHeads, X, Y
from tests.lit.test_train_module import ATTACK, SEED, fit, recipe, same, train_loader
from tests.lit.test_train_module import network as small_network

BASES: dict[str, tuple[Callable, Callable]] = {
    "pgd_at": (pgd_at, plain_pgd_at),
    "trades": (trades, plain_trades),
    "mart": (mart, plain_mart),
}
every_base = pytest.mark.parametrize("base", BASES)
MODES = ["eval", "train", "train_frozen_stats"]


def perturbed(net: nn.Module, x: Tensor, y: Tensor, plain: Callable, gamma: float) -> nn.Module:
    """A copy at w + v, its statistics as the network's: v = gamma ||w|| g / ||g|| for each matrix and kernel."""
    scratch, moved = copy.deepcopy(net), copy.deepcopy(net)
    loss, _ = plain(scratch, x, y)
    for name, weight in scratch.named_parameters():
        if weight.ndim > 1:
            (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
            length = gradient.square().sum().sqrt()
            v = gamma * weight.square().sum().sqrt() * gradient / length
            moved.get_parameter(name).data += v.detach()
    return moved


def plain_awp(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return plain_pgd_at(perturbed(net, x, y, plain_pgd_at, 0.01), x, y)


PLAIN = {"awp": plain_awp}


@pytest.mark.parametrize("gamma", [0.005, 0.2])
@every_base
def test_value_logits_and_gradients_are_the_base_s_at_the_perturbed_weights(base: str, gamma: float) -> None:
    defense, plain = BASES[base]
    net, (x, y) = network(), batch()
    before, twin = copy.deepcopy(net), perturbed(net, x, y, plain, gamma)
    awp = AWP(defense, gamma)
    output = awp(net, x, y, attack=FakeAttack())
    expected, logits = plain(twin, x, y)
    close(output.total, expected)
    close(output.logits, logits.detach())
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        close(mine, theirs)
    output.total.backward()
    for mine, theirs in zip(net.parameters(), gradients(expected, twin), strict=True):
        close(mine.grad, theirs)
    found = [p.grad.clone() for p in net.parameters()]
    awp.after_backward(net)
    for mine, theirs in zip(net.parameters(), before.parameters(), strict=True):
        assert torch.equal(mine, theirs), "to the byte"
    assert all(torch.equal(p.grad, kept) for p, kept in zip(net.parameters(), found, strict=True))
    # Statistics are moved by the loss at w + v, once per forward of the base, and not by the one before.
    for mine, theirs in zip(net.buffers(), twin.buffers(), strict=True):
        close(mine.double(), theirs.double())


def test_the_way_back_is_exact_where_subtracting_would_not_be() -> None:
    net, (x, y) = (
        network().float(),
        [value.float() if value.is_floating_point() else value for value in batch()],
    )
    before = copy.deepcopy(net)
    awp = AWP(pgd_at, 0.3)
    awp(net, x, y, attack=FakeAttack()).total.backward()
    v = [
        mine.detach() - theirs.detach()
        for mine, theirs in zip(net.parameters(), before.parameters(), strict=True)
    ]
    rounded = [mine.detach() - change for mine, change in zip(net.parameters(), v, strict=True)]
    awp.after_backward(net)
    pairs = list(zip(net.parameters(), before.parameters(), strict=True))
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert not all(
        torch.equal(mine, theirs) for mine, theirs in zip(rounded, before.parameters(), strict=True)
    )


@pytest.mark.parametrize("gamma", [0.01, 1.0])
def test_a_layer_s_perturbation_is_along_the_gradient_and_a_share_of_the_layer_long(gamma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    w, g = (torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    v = layer_perturbation(w, g, gamma)
    close(v.norm(), gamma * w.norm())
    close((v * g).sum(), v.norm() * g.norm())
    close(layer_perturbation(w, 1000 * g, gamma), v)
    for broken in (torch.zeros_like(g), g.index_fill(0, torch.tensor([1]), float("inf")), g * float("nan")):
        assert not layer_perturbation(w, broken, gamma).any()


def test_under_autocast_the_second_loss_is_at_the_perturbed_weights_too() -> None:
    net, (x, y) = network().float(), batch()
    x = x.float()
    twin = copy.deepcopy(net)
    awp = AWP(pgd_at, 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        output = awp(net, x, y, attack=FakeAttack())
    twin.load_state_dict(net.state_dict())  # at w + v
    with torch.autocast("cpu", torch.bfloat16):
        logits = twin(FakeAttack.points(x))
        unperturbed = network().float()(FakeAttack.points(x))
    assert output.logits.dtype == torch.bfloat16 and torch.equal(output.logits, logits)
    assert not torch.equal(output.logits, unperturbed)
    output.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_vectors_are_left_alone() -> None:
    net = network()
    before = copy.deepcopy(net)
    AWP(pgd_at, 0.1)(net, *batch(), attack=FakeAttack())
    for mine, theirs in zip(net.parameters(), before.parameters(), strict=True):
        assert torch.equal(mine, theirs) == (mine.ndim <= 1)


@every_base
def test_the_attack_is_run_once_and_at_the_unperturbed_weights(base: str) -> None:
    net, attack = network(), FakeAttack()
    weights: list[Tensor] = []

    def watched(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        weights.append(model[0].weight.detach().clone())
        return attack(model, x, y, **options)

    before, generator = net[0].weight.detach().clone(), torch.Generator().manual_seed(0)
    AWP(BASES[base][0], 0.1)(net, *batch(), attack=watched, step=TrainStep(generator=generator))
    assert len(attack.calls) == 1 and torch.equal(weights[0], before)
    assert attack.calls[0]["generator"] is generator


@pytest.mark.parametrize("mode", MODES)
@every_base
def test_running_statistics_are_those_of_the_crafting_and_of_the_loss_at_the_perturbed_weights(
    base: str, mode: str
) -> None:
    defense, plain = BASES[base]
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    AWP(partial(defense, bn_mode=mode), 0.05)(net, x, y, attack=FakeAttack(forwards=3))
    if mode == "train":
        for _ in range(3 + (base == "trades")):
            twin(x)
    moved = perturbed(twin, x, y, plain, 0.05)
    plain(moved, x, y)
    for mine, theirs in zip(net.buffers(), moved.buffers(), strict=True):
        close(mine.double(), theirs.double())


def test_without_length_or_before_its_time_it_is_the_base() -> None:
    expected = pgd_at(network(), *batch(), attack=FakeAttack()).total
    assert torch.equal(AWP(pgd_at, 0.0)(network(), *batch(), attack=FakeAttack()).total, expected)
    awp = AWP(pgd_at, 0.1, warmup_epochs=2)
    for epoch, same_loss in [(0.0, True), (1.99, True), (2.0, False)]:
        net = network()
        found = awp(net, *batch(), attack=FakeAttack(), step=TrainStep(epoch=epoch, epochs=9)).total
        assert torch.equal(found, expected) == same_loss
        assert same(net.state_dict(), network().state_dict()) is False  # the statistics moved
        awp.after_backward(net)


def test_weights_come_back_also_when_the_second_loss_fails_or_nobody_asked() -> None:
    net, calls = network(), []

    def fails_later(model: nn.Module, x: Tensor, y: Tensor, *, attack, step) -> object:
        calls.append(0)
        if len(calls) == 2:
            raise ZeroDivisionError
        return pgd_at(model, x, y, attack=attack, step=step)

    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(ZeroDivisionError):
        AWP(fails_later, 0.1)(net, *batch(), attack=FakeAttack())
    assert all(torch.equal(p, kept) for p, kept in zip(net.parameters(), before, strict=True))
    awp = AWP(pgd_at, 0.1)
    for _ in range(2):  # a second loss without the hook between begins from the true weights
        awp(net, *batch(), attack=FakeAttack())
    awp.after_backward(net)
    assert all(torch.equal(p, kept) for p, kept in zip(net.parameters(), before, strict=True))


LINF = Threat("inf", 0.1)


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (natural, "natural"),
        (partial(fast, threat=LINF, step_size=0.1), "fast"),
        (Free(LINF, 0.1), "Free"),
        (AWP(pgd_at, 0.1), "AWP"),
    ],
)
def test_a_base_that_can_t_be_run_twice_is_refused(base: Callable, name: str) -> None:
    with pytest.raises(ValueError, match=rf"base: expected a plain defense .*, came {name}, .*choose one"):
        AWP(base, 0.1)


def test_training_with_it_equals_a_plain_loop_that_comes_back_before_the_optimizer_moves(
    tmp_path: Path,
) -> None:
    plan = recipe(2, defense=AWP(pgd_at, 0.05))
    assert isinstance(plan.defense, AfterBackward)
    run = fit(tmp_path, plan)
    model = small_network().train()
    optimizer = plan.make_optimizer(params=list(model.parameters()))
    loader, step = train_loader(), 0
    for epoch in range(2):
        loader.set_epoch(epoch)
        for x, y, index in loader:
            optimizer.param_groups[0]["lr"] = 0.1 * plan.schedule(step / 2, total=2)
            generator = ExampleGenerator(derive_seed(SEED, "attack", step), index)
            with attack_mode(model):
                x_adv = ATTACK(model, x, y, generator=generator)
            twin = perturbed(model, x, y, partial(at_points, x_adv=x_adv), 0.05)
            loss, _ = at_points(twin, x, y, x_adv=x_adv)
            for weight, gradient in zip(model.parameters(), gradients(loss, twin), strict=True):
                weight.grad = gradient
            for mine, theirs in zip(model.buffers(), twin.buffers(), strict=True):
                mine.copy_(theirs)
            optimizer.step()
            step += 1
    for mine, theirs in zip(run.model.state_dict().values(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert not same(run.model.state_dict(), small_network().state_dict())


def at_points(net: nn.Module, x: Tensor, y: Tensor, *, x_adv: Tensor) -> tuple[Tensor, Tensor]:
    del x
    z = net(x_adv)
    return nn.functional.cross_entropy(z, y), z


def test_an_auxiliary_head_is_heard_once_at_the_perturbed_weights() -> None:
    """The pass that only measures the perturbation collects nothing: its graph is gone when the loss is summed up."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = TwoHeads().train()
    with collecting() as found:
        output = AWP(pgd_at, gamma=0.01)(net, X, Y, attack=lambda model, x, y, **_: x)
    assert len(found) == net.runs == 1
    expected = auxiliary_loss(found, Y).detach()
    (output.total + auxiliary_loss(found, Y)).backward()
    assert net.second.weight.grad is not None and net.second.weight.grad.abs().sum() > 0 and expected > 0
