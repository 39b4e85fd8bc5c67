"""Gradient variance of the last layer: closed form of a linear network, autograd's own of a deeper one."""

from functools import partial

import pytest
import torch
from torch import nn

from advarch.attacks.pgd import pgd
from advarch.errors import InputError
from advarch.metrics.gradient_variance import gradient_variance
from advarch.threat import Threat


def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 2, 3, generator=generator).double()
    return x, torch.randint(4, (count,), generator=generator)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_network_has_the_closed_form(bias: bool) -> None:
    x, y = drawn(11)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).double()
    found = gradient_variance(net, x, y, bias=bias, batch_size=3)
    # Of an image: (p - e_y) x^T, and p - e_y for the bias; the last two images fill no batch.
    inputs = torch.cat([x.flatten(1), torch.ones(11, 1)], 1) if bias else x.flatten(1)
    error = torch.softmax(net(x), 1) - torch.eye(4)[y]
    each = (error[:, :, None] * inputs[:, None, :]).detach()[:9]
    means = each.view(3, 3, -1).mean(1)
    expected = (means - means.mean(0)).square().sum(1)
    assert found.table["deviation"] == pytest.approx(expected.tolist())
    assert found.table["length"] == pytest.approx(means.square().sum(1).tolist())
    assert found.table["batch"] == [1, 2, 3]
    variance = expected.mean().item()
    relative = variance**0.5 / means.mean(0).norm().item()
    assert found.numbers == pytest.approx({"variance": variance, "relative_deviation": relative, "batches": 3})  # fmt: skip


def test_equal_batches_have_none() -> None:
    x, y = drawn(4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).double()
    found = gradient_variance(net, torch.cat([x, x]), torch.cat([y, y]), batch_size=4)
    assert found.numbers["variance"] < 1e-30 and found.table["length"][0] > 0.01


def test_the_last_layer_of_a_deeper_network_under_attack() -> None:
    x, y = drawn(8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4)).double()
    net.train()
    attack = partial(pgd, threat=Threat("inf", 0.1), steps=1, step_size=0.1, start=None)
    statistics = net[2].running_mean.clone()
    found = gradient_variance(net, x, y, attack=attack, batch_size=4)
    assert net.training and torch.equal(net[2].running_mean, statistics)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    net.eval()
    x_adv = attack(net, x, y)
    gradients = []
    for rows in (slice(0, 4), slice(4, 8)):
        nn.functional.cross_entropy(net(x_adv[rows]), y[rows]).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net[4].parameters()]))
        net.zero_grad()
    # Of two numbers, half their distance each.
    assert found.numbers["variance"] == pytest.approx((gradients[0] - gradients[1]).square().sum().item() / 4)


def test_what_it_can_t_be_measured_on_is_refused() -> None:
    x, y = drawn(4)
    with pytest.raises(InputError, match="at least two batches, came 4 for batches of 3"):
        gradient_variance(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), x, y, batch_size=3)
    with pytest.raises(InputError, match="ends with a linear layer"):
        gradient_variance(nn.Sequential(nn.Conv2d(1, 4, (2, 3)), nn.Flatten()), x, y, batch_size=2)
