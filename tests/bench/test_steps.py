"""The peers' training steps do the work of ours."""

import copy

import pytest
import torch
import torchattacks
from torch import nn

from advarch.attacks.pgd import pgd
from advarch.backbones.supernet import MixedCell
from advarch.bench.equal import unlike_losses
from advarch.bench.peers import naive_pgd
from advarch.bench.plain_search import PlainMixedOp, plain, plain_step
from advarch.bench.search import run_step as search_step
from advarch.bench.search import supernet
from advarch.bench.sizes import Search
from advarch.bench.steps import naive_step, run_step, torchattacks_step
from advarch.search.method import Batches
from advarch.threat import Threat
from advarch.types import Batch

SIZE = Search(cells=3, channels=4, side=4, batch=4, steps=1, nodes=1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)
    )  # fmt: skip


def images(side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(16, 3, side, side, generator=generator), torch.randint(10, (16,), generator=generator)


def test_the_naive_attack_is_pgd_and_torchattacks() -> None:
    net, (x, y) = network().eval(), images()
    found = naive_pgd(net, x, y, eps=0.03, step_size=0.01, steps=3, random_start=False)
    expected = pgd(net, x, y, threat=Threat("inf", 0.03), steps=3, step_size=0.01, start=None)
    peer = torchattacks.PGD(net, eps=0.03, alpha=0.01, steps=3, random_start=False)
    assert torch.allclose(found, expected, atol=1e-7) and torch.allclose(found, peer(x, y), atol=1e-7)


@pytest.mark.parametrize("method", ["pgd_at", "trades", "free", "fast"])
def test_competitors_begin_with_the_same_loss(method) -> None:
    x, y = images()
    steps = {
        "advarch": run_step(network(), method, x, y, steps=3),
        "naive": naive_step(network(), method, x, y, steps=3),
        "bf16": run_step(network(), method, x, y, steps=3, precision="bf16"),
        "torchattacks": torchattacks_step(network(), method, x, y, steps=3),
    }
    losses = {who: float(step()) for who, step in steps.items() if step is not None}
    assert unlike_losses(losses, 0.02) == {}
    assert ("torchattacks" in losses) == (method != "free")


def test_a_weaker_attack_is_seen() -> None:
    x, y = images()
    strong = run_step(network(), "pgd_at", x, y, steps=10)
    losses = {
        "advarch": float(strong()),
        "natural": float(nn.functional.cross_entropy(network()(x), y).detach()),
    }
    assert list(unlike_losses(losses, 0.02)) == ["natural"]


def test_free_goes_the_same_way_step_by_step() -> None:
    x, y = images()
    ours, naive = (make(network(), "free", x, y, steps=0) for make in (run_step, naive_step))
    for _ in range(4):
        assert float(ours()) == pytest.approx(float(naive()), rel=1e-5)


def test_the_plain_supernet_is_the_same_function() -> None:
    net = supernet(SIZE).eval()
    copied = plain(net)
    x = torch.rand(2, 3, 4, 4)
    assert torch.allclose(copied(x), net(x), atol=1e-5)
    cells = [cell for cell in copied.cells if isinstance(cell, MixedCell)]
    assert all(isinstance(edge, PlainMixedOp) for cell in cells for edge in cell.edges)


def test_both_search_steps_begin_with_the_same_losses() -> None:
    x, y = images(SIZE.side)
    halves = [Batch(x[part], y[part], torch.arange(8)) for part in (slice(8), slice(8, 16))]
    net = supernet(SIZE)
    theirs = plain_step(plain(net), halves[0], halves[1], steps=1, grad_clip=5.0)
    ours = search_step(copy.deepcopy(net), Batches(*halves), steps=1)
    for mine, other in zip(ours(), theirs(), strict=True):
        assert unlike_losses({"advarch": float(mine), "plain": float(other)}, 0.02) == {}
