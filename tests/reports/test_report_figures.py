"""Figures: they have the expected size, show something, show what changes, and no name covers another."""

import io
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advarch.errors import InputError
from advarch.records import Size
from advarch.reports import curves, figure, networks, scatter
from advarch.reports.columns import read_columns
from advarch.reports.estimate import Estimate
from advarch.reports.labels import Box, Name, place
from advarch.reports.shape import read_shape
from tests.reports import made_up_runs as made


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def has(image: np.ndarray, colour: str) -> int:
    """How many pixels are of that colour."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return int((np.abs(image - rgb).max(axis=-1) < 0.02).sum())


def test_size_colours_and_bytes():
    png = figure.render(made.SWEEP, made.full())
    image = pixels(png)
    assert image.shape == (864, 1280, 3)
    assert has(image, "#0b5fa5") > 300 and has(image, "#d1730a") > 100 and has(image, "#ffffff") > 500_000
    assert png == figure.render(made.SWEEP, made.full())
    assert has(pixels(figure.render(made.SWEEP, made.full(), dark=True)), "#171b22") > 500_000


def test_points_are_the_finished_rows(tmp_path):
    shape = read_shape(made.SWEEP)
    x, y = read_columns(("parameters", "pgd20"), made.broken())
    found = networks.points(shape, made.broken(), x, y, "best")
    assert [p.label for p in found] == ["1-1-1", "1-2-1", "2-1-1", "2-2-1"]
    assert found[1].flagged and not found[0].flagged
    assert found[1].x == 73312 and found[1].y.value == 100 * 241 / 360
    assert found[1].y.bounds == tuple(100 * bound for bound in made.wilson(241, 360))
    path = figure.draw(made.SWEEP, made.broken(), tmp_path / "report.png")
    assert path.read_bytes() != figure.render(made.SWEEP, made.full())


def test_error_bars_span_the_deviation_over_seeds():
    runs = [made.run((1, 1, 1), seed=seed, shift=shift) for seed, shift in enumerate((0, 6))]
    x, y = read_columns(("parameters", "pgd20"), runs)
    (point,) = networks.points(read_shape(made.SWEEP), runs, x, y, "best")
    percent = 100 * np.array([228, 234]) / 360
    half = percent.std(ddof=1)
    assert point.y.bounds == pytest.approx((percent.mean() - half, percent.mean() + half))


@pytest.mark.parametrize(("factor", "scale"), [(29, "linear"), (31, "log")])
def test_the_axis_is_logarithmic_beyond_thirty_fold(factor, scale):
    from advarch.reports import canvas

    axes = canvas.blank(8, 5, canvas.LIGHT).add_subplot()
    found = [
        scatter.Point("a", 1000, Estimate(50, 1), False),
        scatter.Point("b", 1000 * factor, Estimate(60, 1), False),
    ]
    scatter.scale(axes, found, accuracy=True)
    assert axes.get_xscale() == scale


@pytest.mark.parametrize(
    ("values", "limits"),
    [((0,), (0, 5)), ((100,), (95, 100)), ((0, 100), (0, 100)), ((40, 60), (38.4, 61.6))],
)
def test_an_accuracy_axis_stays_between_0_and_100(values, limits):
    from advarch.reports import canvas

    axes = canvas.blank(8, 5, canvas.LIGHT).add_subplot()
    scatter.scale(axes, [scatter.Point(str(v), 1 + v, Estimate(v, 1), False) for v in values], accuracy=True)
    assert axes.get_ylim() == pytest.approx(limits)


@pytest.mark.parametrize(
    ("values", "ticks"), [((1,), [1]), ((1, 2), [1, 2]), ((1, 30), [0, 10, 20, 30]), ((0, 4), [0, 2, 4])]
)
def test_what_is_counted_has_whole_ticks(values, ticks):
    from advarch.reports import canvas

    axes = canvas.blank(8, 5, canvas.LIGHT).add_subplot()
    axes.plot(values, values, "o")
    canvas.count_on_x(axes, 4)
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == ticks


def test_a_checkpoint_that_is_not_there_is_not_in_the_legend():
    best = [replace(run, evaluations={"best": run.evaluations["best"]}) for run in made.full()]
    for runs, names in ((made.full(), ["best checkpoint", "last checkpoint"]), (best, [])):
        drawn = figure.drawn(made.SWEEP, runs)
        assert [text.get_text() for legend in drawn.legends for text in legend.get_texts()] == names


def test_odd_inputs_still_draw():
    nothing = [replace(run, state="missing", evaluations={}, size=None, curves=()) for run in made.full()]
    assert pixels(figure.render(made.SWEEP, nothing)).std() > 0.01
    assert (
        pixels(figure.render({**made.SWEEP, "title": "a $\\frac{ title " * 20}, made.full()[:1])).std() > 0.01
    )
    wide = [
        replace(made.run((1, 1, 1)), size=Size(10**6, 1)),
        replace(made.run((1, 1, 2)), size=Size(10**8, 1)),
    ]
    assert pixels(figure.render({**made.SWEEP, "checkpoints": ["best"]}, wide)).std() > 0.01


def test_a_crowd_names_only_networks_that_no_smaller_one_beats():
    found = [
        scatter.Point(str(i), i, Estimate(value, 1), False) for i, value in enumerate((50, 40, 60, 55, 61))
    ]
    assert [p.label for p in scatter.front(found)] == ["4", "2", "0"]


@pytest.mark.parametrize(
    ("value", "text"), [(54_612, "54.6k"), (46_160_474, "46.2M"), (2.5e9, "2.5G"), (360, "360")]
)
def test_counts_on_an_axis(value, text):
    assert scatter.short(value) == text


def test_figure_needs_a_description_and_known_columns():
    with pytest.raises(InputError, match="came null"):
        figure.render({**made.SWEEP, "figure": None}, made.full())
    with pytest.raises(InputError, match="did you mean 'pgd20'"):
        figure.render({**made.SWEEP, "figure": {"y": "pgd2"}}, made.full())


def test_curves(tmp_path):
    png = curves.curves(made.full(), tmp_path / "report_curves.png").read_bytes()
    image = pixels(png)
    assert image.shape == (848, 1616, 3)
    assert has(image, "#0b5fa5") > 2000 and has(image, "#d1730a") > 1000
    few = [
        replace(made.run((1, 1, 1)), curves=({"epoch": 1.0, "val_clean": float("nan"), "val_robust": 0.5},))
    ]
    assert pixels(curves.render(few)).std() > 0.01
    with pytest.raises(InputError, match="came none"):
        curves.render([replace(run, curves=()) for run in made.full()])


FRAME = Box(0, 0, 1000, 600)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 600), st.floats(10, 90)), max_size=30))
def test_names_never_collide(points):
    names = [Name(x, y, width, 14) for x, y, width in points]
    solid = [Box(x - 5, y - 5, x + 5, y + 5) for x, y, _ in points]
    boxes = [box for box in place(names, solid, [], FRAME, gap=8) if box]
    for i, box in enumerate(boxes):
        assert box.inside(FRAME)
        assert all(box.overlap(other) == 0 for other in [*boxes[:i], *solid])


def test_a_name_stands_right_of_a_lone_point_and_steps_over_a_bar():
    name, point = Name(500, 300, 40, 14), [Box(495, 295, 505, 305)]
    (box,) = place([name], point, [], FRAME, gap=8)
    assert (box.left, box.bottom) == (508, 293)
    bars = [Box(509, 0, 512, 600), Box(480, 0, 483, 600)]
    (box,) = place([name], point, bars, FRAME, gap=8)
    assert all(box.overlap(bar) == 0 for bar in bars)
    assert place([name], [FRAME], [], FRAME, gap=8) == [None]
