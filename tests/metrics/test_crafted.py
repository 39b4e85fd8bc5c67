"""Images made once are those made anew, and anything that is not exactly the same question is asked anew."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.metrics import crafted
from advarch.metrics.crafted import CraftedOnce
from advarch.metrics.robust_loss import adversarial
from advarch.noise import ExampleGenerator
from advarch.threat import Threat

PGD = partial(pgd, threat=Threat("inf", 0.1), steps=2, step_size=0.05)


class Counting:
    """PGD, and on how many images it was run."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, model: Any, x: Tensor, y: Tensor, /, **kwargs: Any) -> Tensor:
        self.images += len(x)
        return PGD(model, x, y, **kwargs)


def given() -> tuple[nn.Module, Tensor, Tensor, Counting, CraftedOnce]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
        x, y = torch.rand(7, 1, 4, 4), torch.arange(7) % 3
    counting = Counting()
    return net, x, y, counting, CraftedOnce(counting, net, x, y)


def test_they_are_the_images_made_anew_and_are_made_once() -> None:
    net, x, y, counting, once = given()
    for batch_size in (3, 7):
        anew = adversarial(net, x, y, attack=PGD, batch_size=batch_size, seed=5)
        assert torch.equal(adversarial(net, x, y, attack=once, batch_size=batch_size, seed=5), anew)
    assert not torch.equal(anew, x)
    # The first six in batches of three, as gradient_variance asks.
    assert torch.equal(adversarial(net, x[:6], y[:6], attack=once, batch_size=3, seed=5), anew[:6])
    assert counting.images == 7
    other = adversarial(net, x, y, attack=once, batch_size=3, seed=6)
    assert torch.equal(other, adversarial(net, x, y, attack=PGD, batch_size=3, seed=6))
    assert counting.images == 14


def test_other_networks_images_labels_and_losses_are_attacked_anew(monkeypatch: Any) -> None:
    net, x, y, counting, once = given()
    adversarial(net, x, y, attack=once, batch_size=7, seed=5)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    questions: list[tuple[Any, Tensor, Tensor, dict[str, Any]]] = [
        (flat, x, y, {}),
        (net.forward, x, y, {}),
        (net, x.flip(0), y, {}),
        (net, x, y.flip(0), {}),
        (net, x, y, {"trades_beta": 6.0}),
    ]
    for network, images, labels, options in questions:
        before = counting.images
        ask = partial(adversarial, network, images, labels, batch_size=7, seed=5, **options)
        assert torch.equal(ask(attack=once), ask(attack=PGD))
        assert counting.images == before + 7
    used = ExampleGenerator(5, torch.arange(7), draws=1)
    assert torch.equal(once(net, x, y, generator=used), PGD(net, x, y, generator=ExampleGenerator(5, torch.arange(7), 1)))  # fmt: skip
    monkeypatch.setattr(crafted, "MOST_BYTES", x.nbytes - 1)
    before = counting.images
    adversarial(net, x, y, attack=once, batch_size=7, seed=5)
    assert counting.images == before + 7
