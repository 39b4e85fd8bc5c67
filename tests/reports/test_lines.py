"""Figures of lines: which points they have, and what is refused."""

from typing import Any

import pytest

from advarch.errors import InputError
from advarch.reports.figure import render
from advarch.reports.lines import lines
from advarch.reports.shape import Shape, read_shape
from tests.reports import made_up_runs as made


def shape(**figure: str) -> tuple[dict[str, Any], Shape]:
    sweep = {
        **made.SWEEP,
        "rows": ["seed", "backbone.depths"],
        "figure": {"kind": "lines", "y": "pgd20", **figure},
    }
    return sweep, read_shape(sweep)


def test_a_line_for_each_value_of_a_label_goes_from_left_to_right() -> None:
    runs = [made.run((1, 1, 1), seed=2), made.run((1, 1, 1), seed=1), made.run((1, 1, 2), seed=1)]
    sweep, read = shape(x="seed", line="backbone.depths")
    found = {
        name: [(x, y.value) for x, y in line.ours]
        for name, line in lines(sweep, read, read.figures[0], runs).items()
    }
    assert list(found) == ["1-1-1", "1-1-2"]
    assert found["1-1-1"] == [(1, pytest.approx(100 * 228 / 360)), (2, pytest.approx(100 * 228 / 360))]
    assert found["1-1-2"] == [(1, pytest.approx(100 * 233 / 360))]


def test_it_is_drawn_and_twice_alike() -> None:
    sweep, _ = shape(x="seed", line="backbone.depths")
    runs = [made.run((1, 1, 1), seed=1), made.run((1, 1, 1), seed=2)]
    first = render(sweep, runs)
    assert first[:4] == b"\x89PNG" and first == render(sweep, runs)


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ({"x": "depth"}, r"sweep\.figure\.x to be one of sweep\.rows, came 'depth'"),
        ({"x": "seed", "line": "model"}, r"sweep\.figure\.line to be one of sweep\.rows, came 'model'"),
        ({"x": "backbone.depths"}, r"sweep\.figure\.x to be a label with numbers"),
        (
            {"kind": "pie"},
            r"sweep\.figure\.kind to be one of points, lines, bars, grid, histogram, surfaces, separation, cells, came 'pie'",
        ),
    ],
)
def test_a_mistake_is_named(figure: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        sweep, _ = shape(**figure)
        render(sweep, [made.run((1, 1, 1))])
