"""The loss surface: exact on a quadratic, filters of the right length, attacks at each point, nothing touched."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.errors import InputError
from advarch.metrics.landscape import direction, landscape
from advarch.noise import derive_seed
from advarch.threat import Threat


class Quadratic(nn.Module):
    """Logits whose cross entropy with label 1 is 1 + ||W||^2 + c ||v||^2 + W_00 W_11."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).double())
        self.vector = nn.Parameter(torch.tensor([0.3, -0.4]).double())

    def forward(self, x: Tensor) -> Tensor:
        value = quadratic(self.weight, self.vector)
        return torch.stack([value.expm1().log(), torch.zeros_like(value)]).expand(len(x), 2)


def quadratic(weight: Tensor, vector: Tensor) -> Tensor:
    return 1 + weight.square().sum() + 2 * vector.square().sum() + weight[0, 0] * weight[1, 1]


X, Y = torch.full((3, 1, 1, 1), 0.5), torch.ones(3, dtype=torch.long)


@pytest.mark.parametrize("move_vectors", [False, True])
def test_a_quadratic_has_its_own_surface(move_vectors: bool) -> None:
    net = Quadratic()
    found = landscape(net, X, Y, size=5, span=0.5, move_vectors=move_vectors, seed=3, batch_size=2)
    d, e = (direction(net, seed=derive_seed(3, which), move_vectors=move_vectors) for which in "de")
    steps = [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert list(zip(found.table["alpha"], found.table["beta"], strict=True)) == [(a, b) for a in steps for b in steps]  # fmt: skip
    for a, b, loss in zip(*(found.table[name] for name in ("alpha", "beta", "loss")), strict=True):
        weight, vector = (
            p + a * d.get(name, 0) + b * e.get(name, 0)
            for name, p in (("weight", net.weight), ("vector", net.vector))
        )
        assert loss == pytest.approx(quadratic(weight, vector).item(), rel=1e-12)
    surface = found.table["loss"]
    assert found.numbers == {"centre": surface[12], "lowest": min(surface), "highest": max(surface)}


def test_filters_are_as_long_as_the_network_s_and_vectors_stay() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))
    with torch.no_grad():
        net[0].weight[1] = 0
    d, again, other = (direction(net, seed=seed) for seed in (1, 1, 2))
    assert set(d) == {"0.weight", "3.weight"}
    for name in d:
        weight = net.get_parameter(name)
        torch.testing.assert_close(d[name].flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
        assert torch.equal(d[name], again[name]) and not torch.equal(d[name], other[name])
    moved = direction(net, seed=1, move_vectors=True)
    assert set(moved) == {name for name, _ in net.named_parameters()}
    for name in ("0.bias", "1.weight", "1.bias"):
        torch.testing.assert_close(moved[name].norm(), net.get_parameter(name).norm())


class Line(nn.Module):
    """Logits (w x, 0); the cross entropy with label 1 is log(1 + e^{w x})."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0, -1.0, 0.5]]).double())

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) @ self.weight[0]
        return torch.stack([z, torch.zeros_like(z)], dim=1)


@pytest.mark.parametrize("each", [True, False])
def test_the_attack_is_on_each_point_or_on_the_centre(each: bool) -> None:
    net, eps = Line(), 0.1
    x = (0.3 + 0.4 * torch.rand(4, 1, 1, 3, generator=torch.Generator().manual_seed(0))).double()
    attack = partial(pgd, threat=Threat("inf", eps), steps=1, step_size=eps, start=None)
    found = landscape(net, x, torch.ones(4, dtype=torch.long), attack=attack, attack_each_point=each, size=5, span=3.0)  # fmt: skip
    d, e = (direction(net, seed=derive_seed(0, which))["weight"][0] for which in "de")
    signs = set()
    for a, b, loss in zip(*(found.table[name] for name in ("alpha", "beta", "loss")), strict=True):
        w = net.weight[0].detach() + a * d + b * e
        attacked = w if each else net.weight[0].detach()
        signs.add(tuple(w.sign().tolist()))
        x_adv = x.flatten(1) + eps * attacked.sign()
        assert loss == pytest.approx(F.softplus(x_adv @ w).mean().item(), rel=1e-9)
    assert len(signs) > 1


def test_the_network_is_left_to_the_bit_with_its_statistics_flags_and_gradients() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).train()
    net[1].eval()
    net[3].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    x, y = torch.rand(4, 1, 4, 4), torch.arange(4) % 3
    first, second = (landscape(net, x, y, size=3, batch_size=size) for size in (4, 3))
    assert first.table["loss"] == pytest.approx(second.table["loss"], rel=1e-5)
    with pytest.raises(RuntimeError, match="no room"):
        landscape(net, x, y, size=3, attack=_failing)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert flags == ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()])
    assert all(p.grad is None for p in net.parameters())
    net.eval()
    assert first.numbers["centre"] == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-5)


def _failing(model: Any, x: Tensor, y: Tensor, /, **_: Any) -> Tensor:
    raise RuntimeError("no room")


def test_an_even_size_is_refused() -> None:
    with pytest.raises(
        InputError, match="size: expected an odd number, so that the centre is a point, came 4"
    ):
        landscape(Line(), X, Y, size=4)
