"""DARTS and PC-DARTS: each update against autograd written plainly, what changes when, resuming to the bit."""

import copy
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.search.architecture import Softmax
from advarch.search.darts import Darts
from tests.search.small import ATTACK, SPACE, at, batches, optimizers, supernet

PC = partial(Softmax, edges=True)


def darts(arch=Softmax, defense=natural, seed: int = 0, partial_channels: int = 1, **options) -> Darts:
    net = supernet(arch, seed, partial_channels=partial_channels)
    return Darts(net, defense=defense, attack=ATTACK, **options)


def second_order(**options) -> Darts:
    """On a smooth network in double precision: a finite difference over a kink is no derivative."""
    net = supernet(Softmax, activation="silu").double()
    return Darts(net, defense=natural, attack=ATTACK, order="second", **options)


def state(method: Darts) -> dict[str, torch.Tensor]:
    return copy.deepcopy(method.supernet.state_dict())


@pytest.mark.parametrize("defense", [natural, pgd_at])
def test_the_architecture_follows_the_validation_loss_and_the_weights_the_training_loss(defense) -> None:
    method, given = darts(PC, defense, partial_channels=2), batches()
    twin = copy.deepcopy(method.supernet)
    steps = optimizers(method)
    before = state(method)
    logs = method.step(given, steps, at(0))
    # Architecture first: Adam's first step is lr * sign(gradient), weight decay included.
    adversarial = defense is pgd_at
    for half, names in (
        ("arch", ("arch.alpha", "arch.beta")),
        ("weights", ("head.weight", "stems.0.0.weight")),
    ):
        batch = getattr(given, half)
        x = batch.x
        if adversarial:
            generator = at(0).train_step(batch, half).generator
            twin.eval()
            x = ATTACK(twin, batch.x, batch.y, generator=generator)
            twin.train()
        loss = cross_entropy(twin(x), batch.y)
        own = [twin.get_parameter(name) for name in names]
        for parameter, name, gradient in zip(own, names, torch.autograd.grad(loss, own), strict=True):
            if half == "arch":
                moved = before[name] - 0.05 * torch.sign(gradient + 1e-3 * before[name])
                torch.testing.assert_close(
                    method.supernet.get_parameter(name).detach(), moved, atol=1e-3, rtol=0
                )
                parameter.data = method.supernet.get_parameter(name).detach().clone()
            else:
                moved = before[name] - 0.05 * (gradient + 3e-4 * before[name])
                torch.testing.assert_close(method.supernet.get_parameter(name).detach(), moved)
        if half == "arch":
            torch.testing.assert_close(logs["loss_arch"], loss.detach())


def test_second_order_is_the_gradient_through_the_virtual_step() -> None:
    method, given = second_order(), batches(dtype=torch.float64)
    twin = copy.deepcopy(method.supernet)
    steps = optimizers(method)
    names = [name for name, _ in twin.named_parameters() if name != "arch.alpha"]
    weights = [twin.get_parameter(name) for name in names]
    train = cross_entropy(twin(given.weights.x), given.weights.y)
    slopes = torch.autograd.grad(train, weights, create_graph=True)
    ahead = {name: w - 0.05 * g for name, w, g in zip(names, weights, slopes, strict=True)}
    logits = torch.func.functional_call(twin, ahead, (given.arch.x,))
    (exact,) = torch.autograd.grad(cross_entropy(logits, given.arch.y), twin.arch.alpha)
    seen = {}
    steps["arch"].step = lambda: seen.update(gradient=method.supernet.arch.alpha.grad.clone())
    method.step(given, steps, at(0))
    torch.testing.assert_close(seen["gradient"], exact, atol=1e-3 * float(exact.abs().max()), rtol=0)


def test_the_virtual_step_of_the_code_has_the_optimizer_s_momentum_and_decay() -> None:
    found = {}
    for virtual_step in ("gradient", "momentum"):
        method = second_order(virtual_step=virtual_step)
        steps = optimizers(method)
        method.step(batches(dtype=torch.float64), steps, at(0))
        before = {name: p.detach().clone() for name, p in method.supernet.named_parameters()}
        buffer = steps["weights"].state[method.supernet.head.weight]["momentum_buffer"].clone()
        places = []
        method.defense = lambda model, x, y, *, attack, step, seen=places: (
            seen.append(model.head.weight.detach().clone()) or natural(model, x, y, step=step)
        )
        method.step(batches(1, dtype=torch.float64), steps, at(1))
        found[virtual_step] = (places[0] - places[1], before["head.weight"], buffer)
    plain, (moved, weight, buffer) = found["gradient"][0], found["momentum"]
    torch.testing.assert_close(moved - plain, 0.05 * (0.9 * buffer + 3e-4 * weight))


@pytest.mark.parametrize("order", ["first", "second"])
def test_the_warm_up_holds_the_architecture_and_a_step_changes_what_it_should(order) -> None:
    method = darts(order=order, warmup=1)
    steps = optimizers(method)
    start = state(method)
    method.step(batches(), steps, at(1))
    middle = state(method)
    assert torch.equal(middle["arch.alpha"], start["arch.alpha"])
    assert not torch.equal(middle["head.weight"], start["head.weight"])
    method.step(batches(), steps, at(2))
    assert not torch.equal(state(method)["arch.alpha"], middle["arch.alpha"])
    assert all(p.requires_grad for p in method.supernet.parameters())
    groups = method.parameters()
    assert len(groups["weights"]) + len(groups["arch"]) == len(list(method.supernet.parameters()))


def test_a_search_that_was_saved_goes_on_to_the_bit() -> None:
    def fresh(seed: int = 0):
        method = darts(PC, pgd_at, seed)
        return method, optimizers(method)

    whole, steps = fresh()
    for step in range(2):
        whole.step(batches(step), steps, at(step))
    first, steps_first = fresh()
    first.step(batches(0), steps_first, at(0))
    second, steps_second = fresh(1)
    second.supernet.load_state_dict(state(first))
    second.load_state_dict(first.state_dict())
    for name, optimizer in steps_second.items():
        optimizer.load_state_dict(copy.deepcopy(steps_first[name].state_dict()))
    second.step(batches(1), steps_second, at(1))
    one, two = state(whole), state(second)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.derive(at(4)) == second.derive(at(4))
    assert SPACE.contains(whole.derive(at(4)))
