"""The figure of a sweep as lines: a column against a label of the rows, or against what a grid of attacks varies."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.reports import canvas
from advarch.reports.cells import value_of
from advarch.reports.columns import Column, read_columns
from advarch.reports.estimate import Estimate
from advarch.reports.published import by_row
from advarch.reports.rows import Group, gather
from advarch.reports.scatter import LOG_FROM
from advarch.reports.shape import FigureShape, Shape, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (8.0, 5.4)
"""Inches."""

PALETTE = ("#2b7bba", "#d1600a", "#17935c", "#a0337f", "#8a6d0b", "#5b6470", "#c2314a", "#3a3f9e")

VARIED = ("eps", "steps", "restarts")
"""What a grid may vary (runs.columns)."""


@dataclass(frozen=True)
class Line:
    """Points from left to right: ours, what the paper prints, and where there is nothing of ours yet."""

    ours: list[tuple[float, Estimate]] = field(default_factory=list)
    paper: list[tuple[float, float]] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)


def drawn(
    sweep: Mapping[str, Any],
    shape: Shape,
    plot: FigureShape,
    runs: Sequence[RunRecord],
    *,
    dark: bool = False,
) -> "Figure":
    """The figure: bars are the 95 % Wilson interval, or the deviation over seeds; the paper's numbers are hollow."""
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    axes = figure.add_axes((0.095, 0.15, 0.72, 0.68))
    canvas.dress(axes, colours)
    found = lines(sweep, shape, plot, runs)
    ends = []
    for number, (name, line) in enumerate(found.items()):
        colour = PALETTE[number % len(PALETTE)]
        xs, ys = [x for x, _ in line.ours], [y.value for _, y in line.ours]
        below = [y.value - y.bounds[0] for _, y in line.ours]
        above = [y.bounds[1] - y.value for _, y in line.ours]
        axes.errorbar(
            xs, ys, [below, above], fmt="o-", color=colour, linewidth=1.6, markersize=4.5, elinewidth=1
        )
        if line.paper:
            axes.plot(*zip(*line.paper, strict=True), **canvas.hollow(colour, colours))
        last = [(x, y.value) for x, y in line.ours[-1:]] or line.paper[-1:]
        ends += [(y, x, name, colour) for x, y in last]
    _across(axes, {x for line in found.values() for x, *_ in (*line.ours, *line.paper)})
    (column,) = read_columns((plot.y,), runs)
    if column.get is None:
        canvas.within_percent(axes)
    canvas.name_ends(axes, ends if len(ends) > 1 else [])
    above_all = plot.y_label or (f"{column.title} accuracy (%)" if column.get is None else column.heading)
    axes.set_xlabel(plot.x_label or plot.x, color=colours.text, size=11, labelpad=8, parse_math=False)
    title = figure.text(
        0.035, 0.935, plot.title or shape.title, color=colours.text, size=13, weight="bold", parse_math=False
    )
    canvas.fit(title, 0.985)
    figure.text(0.035, 0.87, above_all, color=colours.text, size=11, parse_math=False)
    if any(line.paper for line in found.values()):
        canvas.ours_and_paper(
            figure, 0.88, colours, marker="o" if any(e.ours for e in found.values()) else ""
        )
    foot = figure.text(0.035, 0.022, _foot(plot, found), color=colours.muted, size=9, parse_math=False)
    canvas.fit(foot, 0.985)
    if not ends:
        canvas.say_nothing_yet(axes, colours)
    return figure


def caption(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> str:
    """One sentence that says what the figure shows."""
    (column,) = read_columns((plot.y,), runs)
    each = f", a line for each {plot.line.rpartition('.')[2]}" if plot.line else ""
    return f"{column.title} against {plot.x_label or plot.x.rpartition('.')[2]}{each}; {plot.checkpoint} checkpoint."


def lines(
    sweep: Mapping[str, Any], shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]
) -> dict[str, Line]:
    """Lines by name.

    Raises:
        InputError: `x` or `line` is no label of the rows, or x is no number.
    """
    found: dict[str, Line] = {}
    columns, printed = _varied(shape, plot, runs), by_row(sweep, shape, plot.checkpoint)
    for group in gather(shape.rows, runs):
        line = found.setdefault(group.labels[_place(shape, "line", plot.line)] if plot.line else "", Line())
        numbers = printed.get(group.labels, {})
        for x, column in columns or [(_number(shape, plot, group), read_columns((plot.y,), runs)[0])]:
            estimate, _ = value_of(group, column, plot.checkpoint)
            if estimate is None:
                line.missing.append(x)
            else:
                line.ours.append((x, estimate))
            if column.id in numbers:
                line.paper.append((x, numbers[column.id].value))
    for line in found.values():
        line.ours.sort(key=lambda point: point[0])
        line.paper.sort()
    return found


def _across(axes: "Axes", xs: set[float]) -> None:
    """A wide range is logarithmic, and its own places are its ticks."""
    if xs and min(xs) > 0 and max(xs) / min(xs) > LOG_FROM:
        axes.set_xscale("log")
        axes.set_xticks(sorted(xs), [f"{x:g}" for x in sorted(xs)])
        axes.minorticks_off()


def _foot(plot: FigureShape, found: Mapping[str, Line]) -> str:
    """The checkpoint, and which points are not there."""
    absent = [
        f"{name or 'the line'} at {', '.join(f'{x:g}' for x in sorted(line.missing))}"
        if line.ours
        else name or "the line"
        for name, line in found.items()
        if line.missing
    ]
    said = [f"{plot.checkpoint} checkpoint", *([f"not there yet: {'; '.join(absent)}"] if absent else [])]
    return "  ·  ".join(said)


def _varied(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> list[tuple[float, Column]]:
    """The columns of the attack y with other radii or steps, and y itself where its name says its steps; none for a label x."""
    if plot.x not in VARIED:
        return []
    values: Mapping[str, float] = {
        name: float(name.partition("=")[2])
        for name in shape.columns
        if name.startswith(f"{plot.y}@{plot.x}=")
    }
    own = re.search(r"\d+$", plot.y) if plot.x == "steps" and plot.y in shape.columns else None
    values = {**values, **({plot.y: float(own[0])} if own else {})}
    return [(x, read_columns((name,), runs)[0]) for name, x in values.items()]


def _place(shape: Shape, key: str, label: str) -> int:
    if label not in shape.rows:
        raise InputError(
            f"expected sweep.figure.{key} to be one of sweep.rows, came '{label}'; {nearest(label, shape.rows)}"
        )
    return shape.rows.index(label)


def _number(shape: Shape, plot: FigureShape, group: Group) -> float:
    value = group.values[_place(shape, "x", plot.x)]
    if not isinstance(value, int | float):
        raise InputError(f"expected sweep.figure.x to be a label with numbers, came {value!r} for {plot.x}")
    return float(value)
