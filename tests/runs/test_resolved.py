"""Configs that differ in few values are what they are when each is resolved alone, however a value reaches another."""

import pytest
from omegaconf import OmegaConf

from advarch.errors import InputError
from advarch.runs.resolved import Resolved, plain
from advarch.runs.units import register_resolvers

TEXT = """
outputs: here
seed: 0
threat: {eps: "${dataset.eps}"}
dataset: {eps: 8/255, seed: "${seed}", name: "x-${.eps}", root: "${outputs}/data"}
attack: {step_size: "${times_eps:0.25}", threat: "${threat}", steps: 10, half: "${px:4}"}
backbone: {depths: [1, 2], first: "${backbone.depths[0]}"}
search: {pick: "${dataset.${search.word}}", word: name, whole: "${attack}"}
"""


@pytest.mark.parametrize(
    "values",
    [
        {"dataset.eps": 0.5},
        {"threat.eps": 0.25},
        {"seed": 3},
        {"outputs": "there"},
        {"attack.steps": "${seed}", "seed": 4},
        {"backbone.depths": [7, 8], "backbone.width": 3},
        {"search.word": "seed"},
        {"attack": {"steps": "${backbone.depths}"}},
    ],
)
def test_what_changes_reaches_what_is_made_of_it(values: dict[str, object]) -> None:
    register_resolvers()
    first = OmegaConf.create(TEXT)
    resolved = Resolved(first)
    assert resolved.plain(first, ()) == plain(OmegaConf.create(TEXT))
    other = OmegaConf.create(TEXT)
    for name, value in values.items():
        OmegaConf.update(other, name, value, merge=False)
    alone = OmegaConf.to_container(other, resolve=True)
    assert resolved.plain(other, values) == alone
    assert plain(other) == alone
    assert resolved.plain(first, ()) == plain(OmegaConf.create(TEXT)), "and the first stays what it was"


def test_what_is_handed_out_may_be_changed() -> None:
    register_resolvers()
    config = OmegaConf.create(TEXT)
    resolved = Resolved(config)
    resolved.plain(config, ())["backbone"]["depths"].append(9)
    assert resolved.plain(config, ())["backbone"]["depths"] == [1, 2]


def test_an_interpolation_that_leads_nowhere_is_named() -> None:
    with pytest.raises(InputError, match=r"^a\.b: .*nothing"):
        plain(OmegaConf.create({"a": {"b": "${nothing.here}"}}))
