"""What a config and a sweep must be before anything runs."""

from typing import Any

import pytest

from advarch.cli import compose
from advarch.cli.checks import PLAIN_ROOTS, sweep_begins, sweep_shows
from advarch.cli.compose import planned_jobs
from advarch.errors import InputError
from advarch.runs.binding import bind

SWEEP = {"name": "depth", "rows": ["backbone.depths"], "columns": ["macs", "clean", "pgd20"]}


def config(**changed: Any) -> dict[str, Any]:
    return {
        "backbone": {"depths": [1, 1, 1]},
        "evaluation": {"attacks": {"pgd20": {}}},
        "sweep": {**SWEEP, **changed},
    }


def test_a_sweep_that_its_report_can_read_passes_and_no_sweep_too() -> None:
    sweep_shows([config(), config(name="robustwrn-fig1b")])
    sweep_shows([{"sweep": None}])
    sweep_shows([])


def test_a_column_of_one_job_s_evaluation_is_enough() -> None:
    other = {**config(columns=["clean", "fgsm"]), "evaluation": {"attacks": {"fgsm": {}}}}
    sweep_shows([config(columns=["clean", "fgsm", "worst"]), other])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"columns": ["x"]}, "expected a column of the table, came 'x'; use one of: best_epoch, clean"),
        ({"rows": 5}, r"expected sweep\.rows to be a list of words, came 5"),
        ({"rows": ["backbone.depth"]}, r"came 'backbone\.depth'; did you mean 'backbone\.depths'"),
        ({"published": 3}, r"sweep\.published: expected a list of printed rows, came 3"),
        ({"name": ""}, r"expected sweep\.name to be a text, came ''"),
        ({"name": None}, r"expected sweep\.name to be a text, came nothing"),
        ({"name": "../../x"}, r"expected sweep\.name to be the name of one folder, came '../../x'"),
        ({"name": ".."}, "the name of one folder"),
        ({"name": "a/b"}, "the name of one folder"),
        ({"name": "a\nb"}, "the name of one folder"),
    ],
)  # fmt: skip
def test_a_sweep_that_no_report_can_show_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        sweep_shows([config(**changed)])


def test_the_first_job_tells_an_unknown_column_unless_another_has_other_attacks() -> None:
    bad = config(columns=["x"])
    with pytest.raises(InputError, match="expected a column of the table, came 'x'"):
        sweep_begins(bad, [["evaluation=full", "seed=0"], ["evaluation=full", "seed=1"]])
    for differing in ("evaluation=full", "+attack@evaluation.attacks.x=mim", "method=racl"):
        sweep_begins(bad, [["seed=0"], ["seed=0", differing]])
    sweep_begins({"sweep": None}, [[]])


def test_a_bad_column_is_refused_before_the_second_job_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def planned(*args: Any, **settings: Any) -> compose.PlannedJob:
        nonlocal count
        count += 1
        return original(*args, **settings)

    original = compose.planned
    monkeypatch.setattr(compose, "planned", planned)
    with pytest.raises(InputError, match="expected a column of the table, came 'x'"):
        planned_jobs(["+sweep=demo", "sweep.columns=[x]"])
    assert count == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": "x"}, "seed: expected integer, came 'x'"),
        ({"stages": ["evalute"]}, r"stages\[0\]: .*'evaluate'"),
        ({"in_process": "maybe"}, "in_process: .*bool"),
    ],
)
def test_the_plain_roots_bind_by_themselves(changed: dict[str, Any], said: str) -> None:
    good = {"seed": 3, "stages": ["train"], "outputs": "o", "in_process": False}
    assert tuple(good) == PLAIN_ROOTS and bind(good) == good
    with pytest.raises(InputError, match=said):
        bind({**good, **changed})


def test_a_plan_that_checks_no_node_refuses_a_seed_that_is_none() -> None:
    with pytest.raises(InputError, match="seed: expected integer, came 'x'"):
        planned_jobs(["seed=x"], check=False)
