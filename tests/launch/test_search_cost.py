"""What a search is said to cost, term by term."""

from typing import Any

import pytest

from advarch.cli.compose import compose, hydra_configs, planned
from advarch.launch.search_cost import candidates_macs, search_macs, tried
from advarch.records import Size

IMAGES = 50_000 * 0.98
"""CIFAR-10's without those of validation."""

SIZE = Size(parameters=1, macs=10)


def searched(*arguments: str) -> dict[str, Any]:
    with hydra_configs():
        return planned(compose(["dataset=cifar10", "dataset.root=.", *arguments]), check=False).config


def test_a_search_costs_half_the_images_at_each_level_and_the_architecture_after_its_warm_up() -> None:
    plain = {name: searched(f"search={name}") for name in ("darts", "pc_darts", "racl")}
    half = IMAGES / 2
    # A natural loss: forward, and a backward pass to the weights.
    assert search_macs(plain["darts"], SIZE) == pytest.approx(half * 10 * 50 * 2 * 3)
    assert search_macs(plain["pc_darts"], SIZE) == pytest.approx(half * 10 * (50 + 35) * 3)
    assert search_macs(plain["racl"], SIZE) == pytest.approx(half * 10 * (50 + 35) * 6)
    second = searched("search=darts", "search.method.order=second", "defense@search.defense=pgd_at")
    assert search_macs(second, SIZE) == pytest.approx(half * 10 * 50 * (1 + 4) * (2 * 10 + 3))


def test_a_path_is_its_share_of_the_supernet_and_trains_on_all_images() -> None:
    config = searched("search=robnet", "search.method.probability=0.25")
    assert search_macs(config, SIZE) == pytest.approx(IMAGES * 10 * 170 * 0.25 * (2 * 7 + 3))


def test_candidates_cost_as_many_trainings_as_there_are() -> None:
    attack = ["attack=pgd7", "defense=pgd_at", "backbone=searched"]
    robnet = searched("search=robnet", *attack)
    assert candidates_macs(robnet, SIZE) == pytest.approx(50 * IMAGES * 10 * 3 * (2 * 7 + 3))
    # Without epochs of their own they train as long as the network in the end; the oracle tries every cell of its space.
    oracle = searched("search=oracle", *attack, "trainer.max_epochs=5")
    assert tried(oracle) == 96
    assert candidates_macs(oracle, SIZE) == pytest.approx(96 * IMAGES * 10 * 5 * (2 * 7 + 3))
    assert tried(searched("search=racl")) == 0
