"""The points of a sweep, and a plain value's way through Hydra's override grammar and back."""

import copy
import math
import string
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hypothesis import given, settings
from hypothesis import strategies as st

from advarch.cli.compose import compose, compose_all, described, hydra_configs
from advarch.errors import InputError
from advarch.launch.grid import expand, fixed, labels, literal, points, to_overrides

AXES = {"axes": {"a": [1, 2], "b.c": ["x", "y", "z"]}}


def test_no_sweep_is_one_point_without_choices() -> None:
    assert points(None) == points({}) == [{}]
    assert expand(None, ["seed=3", "defense=trades"]) == [["seed=3", "defense=trades"]]


def test_axes_are_multiplied_and_the_last_one_runs_fastest() -> None:
    expected = [{"a": a, "b.c": c} for a in (1, 2) for c in "xyz"]
    assert points(AXES) == expected


def test_seeds_run_within_each_point() -> None:
    found = points({**AXES, "seeds": [0, 7]})
    assert found == [{"a": a, "b.c": c, "seed": s} for a in (1, 2) for c in "xyz" for s in (0, 7)]
    assert points({"seeds": [3, 4]}) == [{"seed": 3}, {"seed": 4}]


def test_listed_points_are_taken_in_their_order_as_they_are() -> None:
    listed = [{"a": 2, "b": 1}, {"a": 1}, {"c": [1, 2]}]
    assert points({"points": listed}) == listed
    assert points({"points": listed, "axes": {}, "seeds": [5]}) == [{**point, "seed": 5} for point in listed]


def test_axes_beside_points_are_refused() -> None:
    with pytest.raises(InputError, match="sweep: expected axes or points, came both"):
        points({**AXES, "points": [{"a": 1}]})


@pytest.mark.parametrize("values", [[], 3, "abc", None, {"x": 1}])
def test_an_axis_without_a_list_of_values_is_refused_by_name(values) -> None:
    with pytest.raises(InputError, match=r"sweep\.axes\.a: expected a list of values"):
        points({"axes": {"a": values}})


@pytest.mark.parametrize("seeds", [3, "abc", [], [0, "x"], [1.0], [True], {"a": 1}])
def test_seeds_that_are_no_list_of_integers_are_refused(seeds: Any) -> None:
    with pytest.raises(InputError, match=r"sweep\.seeds: expected a list of integers, came "):
        points({"seeds": seeds}, {"seed"})


def test_without_seeds_the_config_s_own_holds() -> None:
    assert points({"points": [{"a": 1}], "seeds": None}) == [{"a": 1}]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"axes": 5}, r"sweep\.axes: expected a mapping .*, came 5"),
        ({"axes": [1]}, r"sweep\.axes: expected a mapping .*, came \[1\]"),
        ({"points": 5}, r"sweep\.points: expected a list of mappings, came 5"),
        ({"points": ["a"]}, r"sweep\.points: expected a list of mappings, came \['a'\]"),
    ],
)
def test_axes_and_points_of_another_form_are_refused(sweep: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        points(sweep)


def test_typed_keys_win_over_axes_points_and_seeds() -> None:
    assert points(AXES, {"a"}) == [{"b.c": c} for c in "xyz"]
    assert points({**AXES, "seeds": [0, 1]}, {"a", "b.c", "seed"}) == [{}]
    assert points({"points": [{"a": 1, "b": 2}, {"a": 3}]}, {"a"}) == [{"b": 2}, {}]
    assert expand(AXES, ["a=9"]) == [["b.c=x", "a=9"], ["b.c=y", "a=9"], ["b.c=z", "a=9"]]


def test_a_job_that_typing_made_equal_to_another_runs_once() -> None:
    assert expand({"points": [{"a": 1}, {"a": 2}]}, ["a=9"]) == [["a=9"]]


def test_choices_typed_on_the_command_line_are_multiplied_with_the_points() -> None:
    found = expand({"axes": {"a": [1, 2]}}, ["b=5,6", "c=7"])
    assert [sorted(job) for job in found] == [
        ["a=1", "b=5", "c=7"], ["a=2", "b=5", "c=7"], ["a=1", "b=6", "c=7"], ["a=2", "b=6", "c=7"],
    ]  # fmt: skip
    assert expand(None, ["d=[1,2],[3,4]"]) == [["d=[1,2]"], ["d=[3,4]"]]


def test_plus_signs_of_typed_keys_do_not_hide_them_from_the_axes() -> None:
    assert expand({"axes": {"a": [1, 2]}}, ["+a=3"]) == [["+a=3"]]
    assert expand({"axes": {"a": [1, 2]}}, ["++a=3"]) == [["++a=3"]]


def parsed(text: str) -> Any:
    return OverridesParser.create().parse_override(f"key={text}").value()


def unquoted(value: Any) -> Any:
    """Hydra hands quoted strings over as objects that know their quotes."""
    if isinstance(value, dict):
        return {str(unquoted(key)): unquoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unquoted(item) for item in value]
    return getattr(value, "text", value)


words = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
safe = words.filter(lambda w: w.lower() not in ("true", "false", "null", "inf", "nan"))
# printable ASCII but the backslash, with something in it that is neither letter nor digit
sentences = st.text("".join(c for c in string.printable[:95] if c != "\\"), min_size=1, max_size=12).filter(
    lambda t: not t.replace("_", "").isalnum()
)
numbers = st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
atoms = st.none() | st.booleans() | numbers | safe | sentences
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(safe, inner, max_size=3),
    max_leaves=8,
)


@given(values)
@settings(max_examples=200, deadline=None)
def test_a_plain_value_comes_back_from_hydra_s_grammar_equal_and_of_its_type(value) -> None:
    found = unquoted(parsed(literal(value)))
    assert found == value and repr(found) == repr(value)


TRAPS = {
    "a word that reads as a boolean": "true",
    "a word that reads as null": "null",
    "digits": "123",
    "a word that reads as infinity": "inf",
    "digits and letters that read as a number": "1e3",
    "digits with underscores": "1_000",
    "a letter beyond ASCII": "é",
    "a backslash": "a\\b",
    "a line feed": "a\nb",
    "a sign beyond ASCII": "8 × 8",
}


@pytest.mark.parametrize("name", TRAPS)
def test_text_that_looks_like_something_else_stays_text(name: str) -> None:
    assert unquoted(parsed(literal(TRAPS[name]))) == TRAPS[name]


def test_infinity_stays_a_number() -> None:
    assert parsed(literal(math.inf)) == math.inf


def test_a_point_is_written_in_the_grammar_and_composes() -> None:
    point = {
        "backbone.depths": [2, 1, 0],
        "threat.eps": 8 / 255,
        "defense": "trades",
        "trainer.grad_clip": None,
    }
    overrides = to_overrides(point)
    assert overrides[0] == "backbone.depths=[2,1,0]" and overrides[-1] == "trainer.grad_clip=null"
    with hydra_configs():
        config = compose(overrides)
    assert list(config.backbone.depths) == [2, 1, 0] and config.threat.eps == 8 / 255
    assert config.defense._target_.endswith("trades") and config.trainer.grad_clip is None


def test_labels_tell_the_jobs_of_a_sweep_apart() -> None:
    jobs = [
        ["trainer.max_epochs=2", f"backbone.depths=[1,{d},1]", f"threat.eps={e}", "seed=1"]
        for d in (1, 2)
        for e in ("8/255", 0.1)
    ]
    assert labels(jobs) == [
        "depths1-1-1-eps8-255",
        "depths1-1-1-eps0.1",
        "depths1-2-1-eps8-255",
        "depths1-2-1-eps0.1",
    ]
    assert labels([["a=1", "seed=0"], ["a=1", "seed=1"]]) == ["", ""]
    assert labels([["defense=trades"]]) == [""]
    assert labels([["optimizer.lr=1e+30"], ["optimizer.lr=1e-05"]]) == ["lr1e+30", "lr1e-05"]
    named = [["sweep.method='a b'", "x=1"], ["sweep.method=c", "x=2"]]
    assert labels(named) == ["x1", "x2"], "what a sweep says of its points names no folder"
    assert labels([["defense=trades", "defense.beta=1.0"], ["defense=mart"]]) == ["beta1.0", ""]
    assert labels([]) == []


def test_choices_of_a_multirun_are_not_fixed() -> None:
    assert fixed(["sweep=demo", "seed=0,1", "backbone.depths=[1,1,1]"]) == [
        "sweep=demo",
        "backbone.depths=[1,1,1]",
    ]


def test_jobs_composed_together_are_those_composed_alone() -> None:
    jobs = [
        ["dataset=digits", "defense=trades", "defense.beta=2.0", "seed=3"],
        ["dataset=digits", "defense=trades", "seed=4", "threat.eps=8/255", "backbone.depths=[1,2,1]"],
        ["dataset=digits", "defense.bn_mode=train", "averaging=ema", "averaging.decay=0.5", "++evaluation.shares.pgd20=0.5"],
        ["dataset=digits", "attack@validation.attack=pgd7", "validation.attack.steps=3", "trainer.grad_clip=null"],
        ["dataset=digits", "defense=trades", "seed=3"],
    ]  # fmt: skip
    with hydra_configs():
        for job, found in zip(jobs, compose_all(jobs), strict=True):
            assert found == described(compose(job))


def test_choices_are_composed_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    job = ["dataset=digits", "defense=trades"]
    with hydra_configs():
        [first] = compose_all([job])
        expected = copy.deepcopy(first)
        first["defense"]["beta"] = 0.0
        monkeypatch.setattr("advarch.cli.compose.compose", lambda choices: pytest.fail(f"composed {choices}"))
        [other], [again] = compose_all([[*job, "defense.beta=2.0"]]), compose_all([job])
    assert other["defense"]["beta"] == 2.0 and again == expected


def test_a_value_that_can_t_be_applied_is_refused_as_when_composed_alone() -> None:
    with (
        hydra_configs(),
        pytest.raises(ConfigCompositionException, match=r"Could not override 'defense\.betta'"),
    ):
        list(compose_all([["dataset=digits"], ["dataset=digits", "defense.betta=1"]]))
