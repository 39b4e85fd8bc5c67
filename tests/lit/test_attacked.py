"""The fast path of a search: every method's step is the plain one but for rounding, and what is attacked is said."""

import pathlib
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from advarch.backbones.fused_cell import FusedCell
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.lit.attacked import AttackedSupernet
from advarch.lit.search_module import SearchModule
from advarch.modes import attack_mode, attacked_as
from advarch.search.architecture import LogNormalWeights, Path, Softmax
from advarch.search.darts import Darts
from advarch.search.racl import Racl
from tests.lit import searching
from tests.search.small import ATTACK, EDGES, at, batches, optimizers, supernet

SAID = "a copy of the network is attacked: the edges that leave a state are computed together"


def attack(asked: list[nn.Module], model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
    asked.append(model)
    return ATTACK(model, x, y, **options)


METHODS: dict[str, Callable] = {
    "darts": lambda **given: Darts(supernet(Softmax).double(), **given),
    "second order": lambda **given: Darts(
        supernet(Softmax, activation="silu").double(), order="second", virtual_step="momentum", **given
    ),
    "pc_darts": lambda **given: Darts(supernet(EDGES, partial_channels=2, channels=4).double(), **given),
}


def taken(
    name: str, *, fast: bool, defense: Callable = pgd_at
) -> tuple[list[dict], dict[str, Tensor], list[nn.Module]]:
    """Losses and state after two steps, and what was attacked."""
    asked: list[nn.Module] = []
    method = METHODS[name](defense=defense, attack=partial(attack, asked))
    method.supernet.train()
    steps, given = optimizers(method), batches(dtype=torch.float64)
    attacked = AttackedSupernet(method.supernet, lambda words: None)
    logs = []
    for step in range(2):
        with attacked_as(method.supernet if fast else nn.Identity(), partial(attacked.now, given.weights.x)):
            logs.append(method.step(given, steps, at(step)))
    return logs, method.supernet.state_dict(), asked


def is_copy(network: nn.Module) -> bool:
    return any(isinstance(module, FusedCell) for module in network.modules())


@pytest.mark.parametrize("name", METHODS)
def test_steps_with_the_copy_are_those_without(name: str) -> None:
    logs, state, asked = taken(name, fast=True)
    expected, plain, of_plain = taken(name, fast=False)
    assert all(map(is_copy, asked)) and not any(map(is_copy, of_plain)) and len(asked) == len(of_plain) >= 2
    torch.testing.assert_close(logs, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(state, plain, rtol=0, atol=1e-8)


def test_with_the_batch_s_statistics_the_supernet_itself_is_attacked() -> None:
    defense = partial(pgd_at, bn_mode="train")
    _, state, asked = taken("darts", fast=True, defense=defense)
    _, plain, _ = taken("darts", fast=False, defense=defense)
    assert not any(map(is_copy, asked))
    torch.testing.assert_close(state, plain, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arch", "activation", "why"),
    [(EDGES, "prelu", "PReLU can't be fused"), (Path, "relu", "chosen operations are no cheaper fused")],
)
def test_a_supernet_that_is_not_fused_is_attacked_itself(arch, activation, why: str) -> None:
    net, said = supernet(arch, activation=activation), []
    with attack_mode(net):
        assert AttackedSupernet(net, said.append).now(batches().weights.x) is net
    assert said == [f"the network itself is attacked: {why}"]


@pytest.mark.parametrize("fast", [None, False])
def test_a_search_attacks_the_copy_unless_told_not_to(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fast: bool | None
) -> None:
    asked: list[nn.Module] = []
    method = METHODS["pc_darts"](defense=pgd_at, attack=partial(attack, asked))
    method.supernet.float()
    modules = []
    monkeypatch.setattr(searching, "make_trainer", partial(searching.make_trainer, fast=fast))
    monkeypatch.setattr(
        searching, "SearchModule", lambda *given: modules.append(SearchModule(*given)) or modules[0]
    )
    searching.run(tmp_path, method, epochs=1)
    # No channels_last: the supernet is so narrow that torch would corrupt memory.
    assert modules[0].fast == ([] if fast is False else [SAID])
    assert asked and all(is_copy(network) == (fast is None) for network in asked)


@pytest.mark.parametrize(
    "method",
    [
        lambda: Racl(supernet(LogNormalWeights)),
        lambda: Darts(supernet(Softmax), defense=natural, attack=ATTACK),
    ],
)
def test_a_method_without_an_attack_has_no_copy(method: Callable) -> None:
    made = method()
    module = SearchModule(made.supernet, made, searching.recipe())
    module.attack_a_copy()
    assert module.attacked is None
