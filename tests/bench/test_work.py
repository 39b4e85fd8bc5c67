"""Where time stops being proportional to work."""

import pytest

from advarch.bench.row import Row
from advarch.bench.work import (
    BYTES,
    EACH,
    MACS,
    SECONDS,
    Point,
    by_what,
    fixed_seconds,
    proportional_from,
    sentence,
)


def line(fixed: float, each: float, *values: int, bytes: float = 1.0) -> list[Point]:
    """Steps of `fixed` seconds and `each` more for every G of multiply-adds."""
    return [Point(value, 1e9 * value, fixed + each * value, bytes) for value in values]


def test_a_fixed_cost_is_found_exactly() -> None:
    assert fixed_seconds(line(0.3, 0.1, 1, 4, 16)) == pytest.approx(0.3)
    assert fixed_seconds(line(0.0, 0.1, 1, 4, 16)) == pytest.approx(0.0, abs=1e-12)


def test_proportional_from_the_first_after_which_none_is_dear() -> None:
    points = line(0.3, 0.1, 1, 4, 16)
    # Per G: 0.4, 0.175, 0.11875; 1.5 times the least is 0.178.
    assert proportional_from(points) is points[1]
    level = line(0.0, 0.1, 1, 4)
    assert proportional_from(level) is level[0]
    rising = [Point(1, 1e9, 1.0, 1.0), Point(2, 2e9, 4.0, 1.0)]
    assert proportional_from(rising) is None


def test_the_sentence_is_computed_from_the_figures() -> None:
    assert sentence("batch", line(0.3, 0.1, 1, 4, 16)) == (
        "batch: time is proportional to multiply-adds from 4 on; 1 takes 3.4 times as long for each; "
        "300.0 ms of a step (75% of the smallest) are there whatever its size"
    )
    narrow, wide = Point(1, 1e9, 4.0, 0.08), Point(4, 16e9, 16.0, 0.02)
    assert sentence("width", [narrow, wide]) == (
        "width: time is proportional to multiply-adds from 4 on; 1 takes 4.0 times as long for each; "
        "each multiply-add leaves 4.0 times the bytes at width 1 that it leaves at 4"
    )


def test_points_are_read_from_rows() -> None:
    figures = {MACS: 2.0, SECONDS: 0.5, EACH: 250.0, BYTES: 0.1}
    rows = [
        Row("work: batch 4, width 1, depth 1, steps 3", figures),
        Row("training: x", {"advarch, images/s": 1.0}),
    ]
    found = by_what(rows)
    assert found == {"batch": [Point(4.0, 2e9, 0.5, 0.1)]}
    assert found["batch"][0].each == figures[EACH]
