"""What a training step is said to cost against the passes that are really made."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.cli.compose import compose, hydra_configs, planned
from advarch.launch.cost import passes, training_macs
from advarch.records import Size
from advarch.runs.build import make
from advarch.threat import Threat
from tests.defenses.test_losses import batch, network

STEPS = 4
CHOICES: dict[str, list[str]] = {
    **{name: [] for name in ("natural", "pgd_at", "trades", "mart", "fast", "n_fgsm", "free", "awp")},
    "awp around trades": ["defense@defense.base=trades"],
    "awp around mart": ["defense@defense.base=mart"],
}


def config(name: str, *more: str) -> dict[str, Any]:
    choice = f"defense={name.partition(' ')[0]}"
    with hydra_configs():
        return planned(compose([choice, f"attack.steps={STEPS}", *CHOICES[name], *more]), check=True).config


class Counted(nn.Module):
    """Counts forward passes, and backward passes by what they reach: the images, the weights or both."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.forwards = self.to_images = self.to_weights = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        # The parameters are frozen while images are made, and only then; to weights a pass costs two.
        frozen = not next(self.parameters()).requires_grad
        logits: Tensor = self.inner(x)
        if logits.requires_grad:
            logits.register_hook(partial(self._backward, frozen))
        return logits

    def _backward(self, frozen: bool, gradient: Tensor) -> None:
        del gradient
        self.to_images += frozen
        self.to_weights += not frozen


@pytest.mark.parametrize("name", CHOICES)
def test_a_step_costs_the_passes_that_are_made(name: str) -> None:
    value = config(name)
    defense: Callable = make("defense", value["defense"])
    net, (x, y) = Counted(), batch()
    attack = partial(pgd, threat=Threat("inf", 0.1), steps=STEPS, step_size=0.05)
    defense(net, x, y, attack=attack).total.backward()
    made = net.forwards + net.to_images + 2 * net.to_weights
    assert passes(value) == made


def test_an_epoch_of_free_is_its_replays_and_one_of_another_defense_is_one() -> None:
    size = Size(10, 1000)
    images = 1438 * 0.9
    settings = ["trainer.max_epochs=5"]
    assert training_macs(config("natural", *settings), size) == pytest.approx(images * 5 * 3 * 1000)
    assert training_macs(config("free", *settings, "defense.replays=4"), size) == pytest.approx(
        images * 5 * 4 * 3 * 1000
    )
    assert training_macs(config("pgd_at", *settings), size) == pytest.approx(
        images * 5 * (2 * STEPS + 3) * 1000
    )
