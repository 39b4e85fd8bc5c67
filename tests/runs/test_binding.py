"""Every value of a config is looked up and checked before anything starts, and comes back in one form."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from advarch.errors import InputError
from advarch.runs import trust
from advarch.runs.binding import bind, nearest
from advarch.runs.build import make
from advarch.runs.units import fraction

PGD = {"_target_": "advarch.attacks.pgd.pgd", "_partial_": True, "steps": 3, "step_size": 0.1}
WRN = {
    "_target_": "advarch.backbones.wide_resnet.WideResNet",
    "_partial_": True,
    "depths": [1, 1, 1],
    "widths": [1, 1, 1],
}


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(InputError) as raised:
        bind(config)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_good_config_comes_back_as_it_was_and_the_original_is_untouched() -> None:
    config = {"seed": 3, "stages": ["train"], "attack": PGD, "backbone": WRN, "logger": {"kind": "csv"}}
    before = yaml.safe_dump(config)
    bound = bind(config)
    assert bound["attack"] == PGD and bound["seed"] == 3 and bound["stages"] == ["train"]
    assert list(bound) == list(config) and yaml.safe_dump(config) == before
    assert bind(bound) == bound


def test_an_unknown_key_is_named_with_the_nearest_valid_one() -> None:
    assert "attack.stepz: unknown key; did you mean 'steps'?" in refusal({"attack": {**PGD, "stepz": 3}})
    assert "backbone.depthz: unknown key; did you mean 'depths'?" in refusal(
        {"backbone": {**WRN, "depthz": 3}}
    )
    text = refusal({"attack": {**PGD, "qqqq": 1}})
    assert "expected one of: objective, restarts, start, step_size, steps, stop_on_success, threat" in text
    assert "logger.knd: unknown key; did you mean 'kind'?" in refusal({"logger": {"knd": "csv"}})


def test_what_code_hands_over_is_not_offered_as_a_key() -> None:
    text = refusal({"attack": {**PGD, "qqqq": 1}})
    assert "model" not in text and "generator" not in text


def test_a_missing_key_is_named_and_what_code_hands_over_is_not_missed() -> None:
    node = {key: value for key, value in PGD.items() if key != "steps"}
    assert refusal({"attack": node}) == "attack.steps: missing; advarch.attacks.pgd.pgd needs it"
    bind({"attack": PGD, "backbone": WRN})  # neither model, x, y nor classes, in_channels


def test_a_key_of_a_nested_node_is_checked_under_its_own_name() -> None:
    start = {"_target_": "advarch.threat.gaussian_start", "_partial_": True, "sdt": 0.1}
    assert refusal({"attack": {**PGD, "start": start}}).startswith(
        "attack.start.sdt: unknown key; did you mean 'std'?"
    )
    suite = {"_target_": "advarch.evaluation.suite.Suite", "attacks": {"a": {**PGD, "steps": -1}}}
    assert refusal({"evaluation": suite}).startswith("evaluation.attacks.a.steps: expected")
    in_list = {
        "_target_": "advarch.attacks.sequence.sequence",
        "_partial_": True,
        "attacks": [{**PGD, "steps": "x"}],
    }
    assert refusal({"attack": in_list}).startswith("attack.attacks[0].steps: expected")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({**PGD, "steps": 2.5}, "attack.steps: expected integer, came 2.5"),
        ({**PGD, "steps": "ten"}, "attack.steps: expected integer, came 'ten'"),
        ({**PGD, "steps": True}, "attack.steps: expected integer, came True"),
        ({**PGD, "steps": -1}, "attack.steps: expected greater than or equal to 0, came -1"),
        ({**PGD, "steps": None}, "attack.steps: expected integer, came None"),
        ({**PGD, "steps": [3]}, "attack.steps: expected integer, came [3]"),
        pytest.param(
            {**PGD, "steps": {"a": 1}},
            "attack.steps: expected",
        ),
        ({**PGD, "step_size": "1/x"}, "attack.step_size: expected number, came '1/x'"),
        ({**PGD, "step_size": "1/0"}, "attack.step_size: expected number, came '1/0'"),
        ({**PGD, "stop_on_success": "yes"}, "attack.stop_on_success: expected boolean, came 'yes'"),
        ({**WRN, "widths": [1, 1, -1]}, "attack.widths[2]: expected greater than 0, came -1"),
        ({**WRN, "depths": [1, 1]}, "attack.depths: expected"),
        ({**WRN, "depths": [1, 1, 1.5]}, "attack.depths[2]: expected integer, came 1.5"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_what_was_expected(node: dict, said: str) -> None:
    assert refusal({"attack": node}).startswith(said)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"seed": "abc"}, "seed: expected integer, came 'abc'"),
        (
            {"stages": ["train", "evalute"]},
            "stages[1]: expected 'search', 'train', 'evaluate' or 'analyse', came 'evalute'",
        ),
        ({"in_process": "maybe"}, "in_process: expected boolean, came 'maybe'"),
        ({"logger": {"kind": "paper"}}, "logger.kind: expected 'csv' or 'wandb', came 'paper'"),
        (
            {"logger": {"artifacts": ["model", "data"]}},
            "logger.artifacts[1]: expected 'model' or 'genotype', came 'data'",
        ),
        ({"validation": {"every": 0}}, "validation.every: expected greater than or equal to 1, came 0"),
    ],
)
def test_plain_keys_are_checked_too(config: dict, said: str) -> None:
    assert refusal(config).startswith(said)


@pytest.mark.parametrize("written", [8 / 255, "8/255", " 8 / 255 ", "8.0/255", 0.03137254901960784])
def test_a_fraction_means_the_number_however_it_is_written(written) -> None:
    assert bind({"attack": {**PGD, "step_size": written}})["attack"]["step_size"] == 8 / 255


@given(st.integers(-1000, 1000), st.integers(1, 1000))
@settings(max_examples=100, deadline=None)
def test_fractions_are_divided(numerator: int, denominator: int) -> None:
    assert fraction(f"{numerator}/{denominator}") == numerator / denominator
    assert fraction(f"{numerator / 8}/{denominator}") == numerator / 8 / denominator


@pytest.mark.parametrize(
    "value", ["8/0", "a/b", "outputs/run", "1/2/3", "", "/", "8", 8, None, [1], "./.", "1./."]
)
def test_what_is_no_fraction_is_handed_back_as_it_is(value) -> None:
    assert fraction(value) == value


def test_fractions_in_lists_are_read_too() -> None:
    node = {**WRN, "widths": ["1/2", 1, "5/2"]}
    assert bind({"backbone": node})["backbone"]["widths"] == [0.5, 1.0, 2.5]


def test_numbers_come_back_in_one_form_whatever_yaml_made_of_them() -> None:
    found = bind(
        {
            "attack": {**PGD, "step_size": 1},
            "threat": {"_target_": "advarch.threat.Threat", "norm": "inf", "eps": 0},
        }
    )
    assert repr(found["attack"]["step_size"]) == "1.0" and repr(found["threat"]["eps"]) == "0.0"
    assert repr(bind({"backbone": {**WRN, "widths": [1, 2, 3]}})["backbone"]["widths"]) == "[1.0, 2.0, 3.0]"
    steps = bind({"attack": PGD})["attack"]["steps"]
    assert isinstance(steps, int) and not isinstance(steps, bool)


def test_the_threat_is_checked_before_what_is_made_from_it() -> None:
    threat = {"_target_": "advarch.threat.Threat", "norm": "inf", "eps": "eight"}
    assert refusal({"attack": {**PGD, "step_size": math.nan, "steps": "x"}, "threat": threat}).startswith(
        "threat.eps"
    )


UNTRUSTED = ["os.system", "builtins.eval", "subprocess.run", "advarchx.attacks.pgd.pgd", "advarch", "torch.load", 3, ["os.system"]]  # fmt: skip


@pytest.mark.parametrize("target", UNTRUSTED, ids=str)
def test_a_target_that_is_not_trusted_is_refused_wherever_it_stands(target) -> None:
    bad = {"_target_": target, "command": "true"}
    places: list[dict[str, Any]] = [
        {"attack": bad},
        {"attack": {**PGD, "objective": bad}},
        {"attack": {**PGD, "threat": {"a": [{"b": bad}]}}},
        {"dataset": {"deep": [[bad]]}},
        {"validation": {"attack": {**PGD, "start": bad}}},
    ]
    for config in places:
        assert "_target_: expected an object under advarch." in refusal(config)
        assert "--trust PACKAGE" in refusal(config)


def test_a_target_among_positional_arguments_is_refused_too(tmp_path: Path) -> None:
    node = {**PGD, "_args_": [{"_target_": "os.mkdir", "_args_": [str(tmp_path / "made")]}]}
    with pytest.raises(InputError):
        make("attack", bind({"attack": node})["attack"])
    assert not (tmp_path / "made").exists()


def test_a_target_that_makes_what_a_text_describes_is_refused(tmp_path: Path) -> None:
    text = f"{{_target_: os.mkdir, _args_: ['{tmp_path / 'made'}']}}"
    node = {"_target_": "advarch.runs.build.make", "path": "x", "node": text}
    with pytest.raises(InputError):
        make("attack", bind({"attack": node})["attack"])
    assert not (tmp_path / "made").exists()


def test_a_target_that_is_not_there_or_no_callable_is_refused() -> None:
    assert "can't be imported" in refusal({"attack": {"_target_": "advarch.attacks.pgd.pdg"}})
    assert "can't be imported" in refusal({"attack": {"_target_": "advarch.attacks.nothing.pgd"}})
    assert "expected a class or function" in refusal(
        {"x": {"_target_": "advarch.backbones.wide_resnet.STEM_CHANNELS"}}
    )


def test_a_package_can_be_trusted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_own", [])
    node = {"_target_": "collections.Counter", "_partial_": True}
    assert "--trust" in refusal({"x": node})
    trust.trust(["collections"])
    assert bind({"x": node})["x"] == node and trust.own() == ("collections",)
    # Its name is no beginning of others': what lies in a package `collections_of_mine` stays refused.
    assert "--trust" in refusal({"x": {**node, "_target_": "collections_of_mine.Counter"}})


@pytest.mark.parametrize("word", ["", ".", "a/b", "os.system()", "-m"])
def test_only_a_package_s_name_can_be_trusted(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_own", [])
    with pytest.raises(InputError, match=r"^--trust: expected the name of a package"):
        trust.trust([word])
    assert trust.own() == ()


def test_a_constructor_s_refusal_names_the_node() -> None:
    with pytest.raises(InputError, match=r"^backbone\.widths: expected multipliers"):
        make("backbone", {**WRN, "widths": [0.3, 1, 1]}, classes=10, in_channels=3)
    threat = {"_target_": "advarch.threat.Threat", "norm": "inf", "eps": 8}
    with pytest.raises(InputError, match=r"^threat\.eps: expected a radius"):
        make("threat", threat)


def test_nearest_offers_one_word_or_all() -> None:
    assert nearest("depthz", ["depths", "widths"]) == "did you mean 'depths'?"
    assert nearest("x", ["b", "a"]) == "expected one of: a, b"


def test_a_list_stands_where_a_tuple_is_asked_for() -> None:
    adam = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1, "betas": [0.5, "999/1000"]}
    assert bind({"optimizer": adam})["optimizer"]["betas"] == [0.5, 0.999]
    assert "optimizer.betas" in refusal({"optimizer": adam | {"betas": [0.5]}})
    assert "optimizer.betas" in refusal({"optimizer": adam | {"betas": [0.5, "a"]}})
