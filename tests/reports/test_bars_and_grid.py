"""Bars and heat maps: what they show is what the records and the paper say, and each square has the shade of its number."""

import io
from dataclasses import replace

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from advarch.errors import InputError
from advarch.reports import bars, figure, grid_map
from advarch.reports.columns import read_columns
from advarch.reports.shape import read_shape
from tests.reports import made_up_runs as made

SWEEP = {
    **made.SWEEP,
    "figure": [
        {"kind": "grid", "x": "backbone.depths", "y": "pgd20", "x_label": "one, two, three"},
        {"kind": "bars", "y": "clean, pgd20"},
    ],
    "published": [{"row": "1-1-2", "pgd20": "~54"}, {"row": "2-2-2", "clean": 90.0}],
    "source": "a paper",
}


def squares(runs: list[made.RunRecord]) -> dict[tuple[float, ...], grid_map.Square]:
    shape = read_shape(SWEEP)
    (column,) = read_columns(("pgd20",), runs)
    return {s.place: s for s in grid_map.squares(SWEEP, shape, shape.figures[0], runs, column)}


def test_a_square_for_every_job_and_why_it_is_empty() -> None:
    found = squares(made.broken())
    assert len(found) == 8
    assert found[1, 1, 1].value == pytest.approx(100 * 228 / 360) and found[1, 1, 1].text == "63.3"
    assert found[1, 2, 1].text.endswith("†")
    absent = {place: square.state for place, square in found.items() if square.value is None}
    assert absent == {
        (1, 1, 2): "missing",
        (1, 2, 2): "failed",
        (2, 1, 2): "running",
        (2, 2, 2): "interrupted",
    }
    assert {place: s.printed for place, s in found.items() if s.printed} == {(1, 1, 2): "~54"}


def test_the_best_and_the_worst_have_the_ends_of_the_shades() -> None:
    image = matplotlib.image.imread(io.BytesIO(figure.render(SWEEP, made.full())))[..., :3]
    for shade in (grid_map.SHADES[False][0], grid_map.SHADES[False][-1]):
        near = np.abs(image - matplotlib.colors.to_rgb(shade)).max(-1) < 0.003
        # A square of 0.94 x 0.62 inches' side at 160 dots, less its words.
        assert near.sum() > 0.5 * (0.94 * grid_map.CELL * 160) ** 2


def test_a_grid_needs_a_label_of_numbers() -> None:
    plot = {"kind": "grid", "x": "seed", "y": "pgd20"}
    with pytest.raises(InputError, match=r"one of sweep.rows, came 'seed'"):
        figure.render({**SWEEP, "figure": plot}, made.full())
    with pytest.raises(InputError, match="two or three numbers, came 0"):
        figure.render({**SWEEP, "published": [], "rows": ["seed"], "figure": plot}, made.full())


def test_bars_row_by_row_with_the_paper_s_numbers() -> None:
    shape = read_shape(SWEEP)
    found = bars.bars(SWEEP, shape, shape.figures[1], made.broken())
    assert [(b.row, b.column.id) for b in found[:3]] == [
        ("1-1-1", "clean"),
        ("1-1-1", "pgd20"),
        ("1-1-2", "clean"),
    ]
    assert found[0].value is not None and found[0].value.value == pytest.approx(100 * 347 / 360)
    assert {(b.row, b.column.id): b.printed for b in found if b.printed is not None} == {
        ("1-1-2", "pgd20"): 54.0,
        ("2-2-2", "clean"): 90.0,
    }
    assert [b.state for b in found if b.value is None][::2] == ["missing", "failed", "running", "interrupted"]


def test_a_longer_bar_has_more_ink() -> None:
    def blue(correct: int) -> int:
        run = made.run((1, 1, 1))
        record = replace(
            run.evaluations["best"], results=(made.result("clean", 350), made.result("pgd20", correct))
        )
        sweep = {**SWEEP, "figure": {"kind": "bars", "y": "pgd20"}, "published": []}
        png = figure.render(sweep, [replace(run, evaluations={"best": record}), made.run((2, 2, 2))])
        image = matplotlib.image.imread(io.BytesIO(png))[..., :3]
        return int((np.abs(image - matplotlib.colors.to_rgb("#0b5fa5")).max(-1) < 0.003).sum())

    assert blue(240) > blue(120) + 5000
