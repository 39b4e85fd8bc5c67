"""Flags that compare columns, on made-up verdicts whose answer is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from advarch.evaluation import sanity
from advarch.evaluation.sanity import Seen, relations

PGD = "advarch.attacks.pgd.pgd"
SQUARE = "advarch.attacks.square.square"
SEQUENCE = "advarch.attacks.sequence.sequence"


def seen(
    name: str, right: int, total: int = 1000, *, first: int = 0, lost: Any = None, **attack: Any
) -> Seen:
    """A column that leaves the first `right` of its images."""
    node = {"_target_": PGD, "steps": 20, "threat": {"norm": "inf", "eps": 0.1}, **attack}
    index = np.arange(first, first + total)
    return Seen(name, node, index, np.arange(total) < right, lost or {})


def pgd(name: str, right: int, steps: int, eps: float = 0.1, **attack: Any) -> Seen:
    return seen(name, right, steps=steps, threat={"norm": "inf", "eps": eps}, step_size=eps / 10, **attack)


def test_a_sound_suite_raises_nothing() -> None:
    parts = {"apgd_ce": {"_target_": "advarch.attacks.apgd.apgd", "threat": {"eps": 0.1}}}
    sound = [
        pgd("fgsm", 600, 1),
        pgd("pgd20", 520, 20),
        pgd("pgd100", 519, 100),
        pgd("pgd20@eps=0.2", 300, 20, 0.2),
        seen("square", 580, _target_=SQUARE, steps=None),
        seen("autoattack", 500, _target_=SEQUENCE, attacks=parts, lost={"apgd_ce": 99, "square": 0}),
        seen("deepfool", 505, _target_=sanity.MINIMUM_NORM[0], steps=50),
    ]
    assert relations(sound) == {}


@pytest.mark.parametrize(
    ("columns", "flag", "column"),
    [
        (
            [pgd("pgd20", 520, 20), seen("square", 517, _target_=SQUARE)],
            "black_box_beats_white_box",
            "square",
        ),
        ([pgd("one", 500, 1), pgd("pgd20", 503, 20)], "single_step_stronger", "one"),
        (
            [seen("fgsm", 500, _target_="advarch.attacks.fgsm.fgsm", steps=0), pgd("pgd20", 503, 20)],
            "single_step_stronger",
            "fgsm",
        ),
        ([pgd("a", 500, 20, 0.1), pgd("b", 503, 20, 0.2)], "not_monotone_eps", "b"),
        ([pgd("a", 500, 20), pgd("b", 503, 100)], "not_monotone_steps", "b"),
        ([pgd("a", 500, 20, restarts=1), pgd("b", 503, 20, restarts=5)], "not_monotone_restarts", "b"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_comparison_is_raised_on_its_column(columns: list[Seen], flag: str, column: str) -> None:
    assert relations(columns) == {column: (flag,)}


def test_a_column_made_on_another_network_is_compared_with_its_own_attack_alone() -> None:
    own, others = pgd("pgd20", 520, 20), [pgd("fgsm", 600, 1), pgd("pgd100", 519, 100)]
    fine = replace(own, name="pgd20@source=a", right=np.arange(1000) < 700, source="a")
    assert relations([own, fine, *others]) == {}
    better = replace(fine, right=np.arange(1000) < 500)
    assert relations([own, better, *others]) == {"pgd20@source=a": ("transfer_beats_white_box",)}


def test_two_tenths_of_a_point_are_tolerated_and_a_single_image_always() -> None:
    assert relations([pgd("a", 500, 20), pgd("b", 502, 100)]) == {}
    few = [seen("a", 50, 100, steps=20), seen("b", 51, 100, steps=100)]
    assert relations(few) == {}


def test_square_as_a_part_of_a_sequence() -> None:
    parts = {"apgd_ce": {"_target_": "x", "threat": {"eps": 0.1}}, "square": {"_target_": SQUARE}}
    column = seen("aa", 400, _target_=SEQUENCE, attacks=parts, lost={"apgd_ce": 500, "square": 3})
    assert relations([column]) == {"aa": ("black_box_beats_white_box",)}
    assert (
        relations([seen("aa", 400, _target_=SEQUENCE, attacks=parts, lost={"apgd_ce": 500, "square": 2})])
        == {}
    )


def test_the_gap_to_autoattack_is_taken_on_common_images() -> None:
    parts = {"apgd_ce": {"_target_": "x", "threat": {"eps": 0.1}}}
    everything = pgd("pgd20", 130, 20)
    # On all 1,000 images PGD keeps 13 %; on the first 125 it keeps all of them, the sequence 100: 20 points.
    part = seen("aa", 100, 125, _target_=SEQUENCE, attacks=parts, lost={"apgd_ce": 25})
    assert relations([everything, part]) == {"pgd20": ("pgd_aa_gap",)}
    close = seen("aa", 116, 125, _target_=SEQUENCE, attacks=parts, lost={"apgd_ce": 9})
    assert relations([everything, close]) == {}


@pytest.mark.parametrize(("total", "least"), [(16, 4), (125, 16), (1000, 97)])
def test_a_gap_to_autoattack_counts_from_where_chance_does_not_explain_it(total: int, least: int) -> None:
    # The score test of a share of 8 %, two-sided at 5 %: k/n - 0.08 > 1.96 sqrt(0.08 * 0.92 / n).
    score = [(k / total - 0.08) / (0.08 * 0.92 / total) ** 0.5 for k in (least - 1, least)]
    assert score[0] < 1.959964 < score[1]
    parts = {"apgd_ce": {"_target_": "x", "threat": {"eps": 0.1}}}
    everything = seen("pgd20", total, total, steps=20)
    for more in (least - 1, least):
        sequence = seen("aa", total - more, total, _target_=SEQUENCE, attacks=parts, lost={"apgd_ce": more})
        assert relations([everything, sequence]) == ({"pgd20": ("pgd_aa_gap",)} if more == least else {})


def test_columns_of_other_radii_are_not_compared() -> None:
    assert relations([pgd("fgsm", 400, 1, 0.2), pgd("pgd20", 500, 20, 0.1)]) == {}


def test_a_checkpoint_chosen_on_its_test_images() -> None:
    images = np.arange(400 * 4, dtype=np.int64).astype(np.uint8).reshape(400, 1, 2, 2)
    images[:, 0, 0, 0] = np.arange(400) % 256
    images[:, 0, 0, 1] = np.arange(400) // 256
    assert not sanity.selected_on_test(images[:200], images[200:])
    # Two twins in 200 images are the set's own; three are a leak.
    assert not sanity.selected_on_test(images[:202], images[200:])
    assert sanity.selected_on_test(images[:203], images[200:])
    assert sanity.selected_on_test(images[200:], images[200:])
