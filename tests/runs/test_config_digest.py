"""The digest of an experiment: what does not change the weights does not count, everything else does."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from advarch.cli.compose import compose, hydra_configs, planned
from advarch.errors import InputError
from advarch.runs import config as configs
from advarch.runs.config import NOT_IN_DIGEST, digest, experiment_digest

plain_values = st.recursive(
    st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


def shuffled(value: Any, seed: int) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        random.Random(seed).shuffle(items)
        return {key: shuffled(item, seed) for key, item in items}
    return [shuffled(item, seed) for item in value] if isinstance(value, list) else value


@given(plain_values, st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_the_order_of_keys_does_not_count(value, seed: int) -> None:
    assert digest(shuffled(value, seed)) == digest(value)


def test_the_order_of_a_list_counts() -> None:
    assert digest([1, 2]) != digest([2, 1])


def test_equal_numbers_have_one_digest_however_they_are_written() -> None:
    assert digest(8 / 255) == digest("8/255") == digest(0.03137254901960784) == digest(" 8 /255")
    assert digest(1) == digest(1.0) == digest("3/3")
    assert digest([1, 1, 1]) == digest((1.0, 1.0, 1.0))
    assert digest(0.1) != digest(0.1 + 1e-15) and digest(1) != digest(True) and digest(0) != digest(False)


def test_keys_without_a_value_do_not_count_and_values_that_look_empty_do() -> None:
    assert digest({"a": 1, "b": None}) == digest({"a": 1}) == digest({"a": 1, "c": None})
    assert digest({"a": {"b": None}}) == digest({"a": {}})
    values = [{"a": 0}, {"a": False}, {"a": ""}, {"a": []}, {"a": {}}, {}]
    assert len({digest(value) for value in values}) == len(values)
    assert digest([None]) != digest([])


def test_digests_are_eight_hexadecimal_digits_and_golden() -> None:
    # sha256sum of {"a": ["1.0", "x"], "b": true}
    assert digest({"b": True, "a": [1, "x"]}) == "2702a52f"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    with hydra_configs():
        return planned(compose([]), check=True).config


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    return [path]


def changed(config: dict[str, Any], path: tuple) -> dict[str, Any]:
    value = copy.deepcopy(config)
    node = value
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = "another" if node[path[-1]] != "another" else 1
    return value


def excluded(path: tuple) -> bool:
    return path[0] in NOT_IN_DIGEST or ".".join(map(str, path[:2])) in NOT_IN_DIGEST


def test_exactly_the_excluded_keys_of_a_composed_config_do_not_count(config: dict[str, Any]) -> None:
    before = experiment_digest(config)
    paths = leaves(config)
    assert len(paths) > 60
    for path in paths:
        same = experiment_digest(changed(config, path)) == before
        assert same == excluded(path), ".".join(map(str, path))
    assert {p[0] for p in paths if not excluded(p)} == {
        "seed", "dataset", "backbone", "threat", "attack", "defense", "optimizer", "schedule", "trainer", "validation", "search",
        "averaging", "stop", "initial_weights",
    }  # fmt: skip


def test_what_decides_the_weights_is_never_excluded() -> None:
    words = {name.rpartition(".")[2] for name in NOT_IN_DIGEST}
    counted = {
        "seed",
        "batch_size",
        "limit",
        "val_fraction",
        "lr",
        "max_epochs",
        "precision",
        "grad_clip",
        "source",
    }
    assert not counted & words


def test_a_new_key_counts_unless_it_is_null(config: dict[str, Any]) -> None:
    assert experiment_digest({**config, "new": None}) == experiment_digest(config)
    assert experiment_digest({**config, "new": 1}) != experiment_digest(config)
    defense = {**config["defense"], "new": None}
    assert experiment_digest({**config, "defense": defense}) == experiment_digest(config)


def test_the_digest_leaves_the_config_as_it_is(config: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    experiment_digest(config)
    assert config == before


@pytest.mark.parametrize("written", ["8/255", "0.03137254901960784", "${px:8}"])
def test_a_radius_typed_in_any_form_is_the_same_experiment(written: str) -> None:
    with hydra_configs():
        found = planned(compose([f"threat.eps={written}"]), check=True)
        expected = planned(compose(["threat.eps=0.031372549019607843"]), check=True)
    assert found.config["threat"]["eps"] == 8 / 255
    assert found.folder.path == expected.folder.path
    assert found.config["attack"]["step_size"] == 0.25 * (8 / 255)


def test_two_whole_numbers_are_told_apart_however_large() -> None:
    assert digest(2**40) != digest(2**40 + 1)


def test_a_written_config_comes_back_equal_and_with_the_same_digest(
    config: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(configs.dump(config))
    assert configs.load(path) == config
    assert experiment_digest(configs.load(path)) == experiment_digest(config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected a run folder with a config.yaml"),
        ("- 1", "expected a mapping in"),
        ("a: [", "expected YAML in"),
        ("!!python/object/apply:os.system ['true']", "expected YAML in"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=said) as raised:
        configs.load(path)
    assert "\n" not in str(raised.value)


def test_a_config_is_plain_yaml_that_any_reader_reads(config: dict[str, Any]) -> None:
    assert yaml.safe_load(configs.dump(config)) == config
    assert "${" not in configs.dump(config)


def test_an_option_at_its_null_is_the_experiment_from_before_there_was_the_option(
    config: dict[str, Any],
) -> None:
    older = {key: value for key, value in config.items() if key != "averaging"}
    for group, keys in {
        "defense": ["label_smoothing"], "backbone": ["activation", "drop_path"], "schedule": ["warmup", "warmup_from"],
        "dataset": ["rotation", "cutout"],
    }.items():  # fmt: skip
        assert all(older[group][key] is None for key in keys)
        older[group] = {key: value for key, value in older[group].items() if key not in keys}
    assert experiment_digest(older) == experiment_digest(config)
    with hydra_configs():
        averaged = planned(compose(["averaging=ema"]), check=True).config
    assert experiment_digest(averaged) != experiment_digest(config)


def test_how_many_candidates_train_at_a_time_makes_no_other_search() -> None:
    def digest(**candidates: object) -> str:
        return experiment_digest(
            {"seed": 0, "search": {"name": "random", "candidates": {"epochs": 3} | candidates}}
        )

    assert digest(workers=1) == digest(workers=4) == digest() != digest(epochs=4)
    assert experiment_digest({"search": {"name": "none"}}) == experiment_digest(
        {"search": {"name": "none", "space": None}}
    )
