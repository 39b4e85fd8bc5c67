"""A sweep's networks and data at a smaller scale: closed numbers by the rules, and what stays."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from advarch.runs.config import data_root
from advarch.runs.shrink import multiplied, shrunk, smaller
from advarch.runs.sources import with_sources

RULES = yaml.safe_load((data_root("conf") / "scale/_tiny.yaml").read_text())["shrink"]
WRN = {"_target_": "advarch.backbones.wide_resnet.WideResNet", "depths": [9, 7, 1], "widths": [2.5, 10, 4]}
PGD = {"step_size": 2 / 255, "steps": 10, "threat": {"norm": "inf", "eps": 8 / 255}}


def config(**more: Any) -> dict[str, Any]:
    return {
        "seed": 3,
        "sweep": {"name": "s", "source": "Paper, Table 1"},
        "shrink": RULES,
        "choices": {"dataset": "cifar10"},
        "backbone": WRN,
        "search": {"name": "none"},
        "dataset": {"batch_size": 64, "limit": 200, "seed": 3, "eps": 8 / 255},
        "threat": {"norm": "inf", "eps": 8 / 255},
        "attack": PGD,
        "defense": {"start_std": 0.001},
        "validation": {"attack": PGD},
        "evaluation": {"attacks": {"pgd20": PGD}, "grids": {"pgd20": {"eps": [0.01]}}, "limit": None},
        "analysis": {"attack": PGD},
        **more,
    }


@pytest.mark.parametrize(
    ("value", "factor", "multiple", "expected"),
    [
        ([9, 7, 5, 3, 1, 0], 0.5, 1, [5, 4, 3, 2, 1, 0]),
        ([160, 36, 8], 0.125, 8, [24, 8, 8]),
        (2.5, 0.1, 0.0625, 0.25),
        (4, 0.1, 0.0625, 0.4375),
        (True, 0.5, 1, True),
        ("16", 0.5, 1, "16"),
    ],
)
def test_numbers_shrink_to_the_next_multiple(
    value: Any, factor: float, multiple: float, expected: Any
) -> None:
    assert multiplied(value, factor, multiple) == expected


def test_the_last_stages_are_kept() -> None:
    assert multiplied([[64], [128], [256, 256], [512], [512]], 0.0625, 8, 3) == [[16, 16], [32], [32]]


def test_the_depths_of_the_125_networks_stay_different() -> None:
    factor, multiple = RULES["networks"]["WideResNet"]["depths"]
    assert len(set(multiplied([1, 3, 5, 7, 9], factor, multiple))) == 5


def test_networks_within_a_network_shrink_too_and_a_cell_for_every_place_fixes_their_number() -> None:
    dilated = {"_target_": "advarch.backbones.dilated.dilated", "cells": 6, "base": WRN}
    found = smaller(dilated, RULES["networks"])
    assert found["cells"] == 3 and found["base"]["depths"] == [5, 4, 1]
    cells = {"_target_": "advarch.backbones.cell_net.CellNet", "cells": 20, "channels": 36}
    assert smaller({**cells, "genotype": "robnet_free"}, RULES["networks"])["cells"] == 20
    assert smaller({**cells, "genotype": "darts_v2"}, RULES["networks"])["cells"] == 5
    diverse = {"_target_": "advarch.backbones.ds_net.DSNet", "channels": 20, "modules": 15}
    assert smaller({**diverse, "attention_init": "normal"}, RULES["networks"])["modules"] == 3
    for given in ("published", [[0, 0, 0, 0]] * 15):
        assert smaller({**diverse, "attention_init": given}, RULES["networks"])["modules"] == 15


def test_a_stand_in_brings_its_radius_and_every_length_grows_with_it() -> None:
    found = shrunk(config())
    assert "shrink" not in found and found["choices"]["dataset"] == "digits"
    dataset = found["dataset"]
    assert dataset["source"]["_target_"].endswith("embedded.digits") and dataset["image_shape"] == [1, 8, 8]
    assert (dataset["batch_size"], dataset["limit"], dataset["seed"]) == (64, 200, 3)
    assert found["threat"]["eps"] == pytest.approx(0.2)
    for attack in (found["attack"], found["evaluation"]["attacks"]["pgd20"], found["analysis"]["attack"]):
        assert attack["step_size"] == pytest.approx(0.05) and attack["threat"]["eps"] == pytest.approx(0.2)
    assert found["defense"]["start_std"] == pytest.approx(0.001 * 0.2 * 255 / 8)
    assert found["evaluation"]["grids"] == {"pgd20": {"eps": [0.01]}}, "they name columns"


def test_without_a_sweep_or_at_the_paper_s_scale_nothing_changes() -> None:
    for changed in ({"sweep": None}, {"sweep": {"name": "demo"}}, {"shrink": None}):
        given = config(**changed)
        assert shrunk(given) == {key: value for key, value in given.items() if key != "shrink"}


def test_a_search_gets_few_epochs_and_candidates() -> None:
    search = {
        "name": "racl",
        "epochs": 50,
        "method": {"warmup": 15},
        "candidates": {"sampler": {"count": 100}},
        "validation_attack": {"steps": 20},
    }
    found = shrunk(config(search=search, shrink={"search": {"epochs": 5, "candidates": 6, "steps": 2}}))[
        "search"
    ]
    assert found == {
        "name": "racl",
        "epochs": 5,
        "method": {"warmup": 2},
        "candidates": {"sampler": {"count": 6}},
        "validation_attack": {"steps": 2},
    }


def test_a_search_s_attacks_grow_with_the_ball_and_its_supernet_and_optimizers_stay() -> None:
    search = {
        "attack": PGD,
        "candidates": {"attack": PGD},
        "supernet": {"arch": {"std": 0.001}, "base": {"step_size": 0.1}},
        "arch_optimizer": {"eps": 1e-8},
    }
    found = shrunk(config(search=search))["search"]
    for attack in (found["attack"], found["candidates"]["attack"]):
        assert attack["step_size"] == pytest.approx(0.05) and attack["threat"]["eps"] == pytest.approx(0.2)
    assert {key: found[key] for key in ("supernet", "arch_optimizer")} == {
        key: search[key] for key in ("supernet", "arch_optimizer")
    }


def test_batches_get_no_larger_than_the_scale_has_them() -> None:
    sizes = [shrunk(config(shrink={"batch_size": most}))["dataset"]["batch_size"] for most in (32, 128)]
    assert sizes == [32, 64]


def test_a_pattern_among_the_sources_becomes_the_folder_that_it_matches(tmp_path: Path) -> None:
    (tmp_path / "cifar10-a-s0-1234").mkdir()
    sources = {"a": f"{tmp_path}/*-a-s0-*", "b": f"{tmp_path}/*-b-s0-*", "c": "plain"}
    found = with_sources({"evaluation": {"sources": sources}})["evaluation"]["sources"]
    assert found == {**sources, "a": f"{tmp_path}/cifar10-a-s0-1234"}
    assert with_sources({"evaluation": {"sources": None}}) == {"evaluation": {"sources": None}}
