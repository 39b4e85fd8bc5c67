"""A network a point: accuracy against cost, in the manner of RobustWRN's Fig. 1b."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from advarch.records import RunRecord
from advarch.reports import canvas, closing, scatter
from advarch.reports.cells import value_of
from advarch.reports.columns import Column, read_columns
from advarch.reports.estimate import Estimate
from advarch.reports.published import by_row
from advarch.reports.rows import gather
from advarch.reports.scatter import Point
from advarch.reports.shape import FigureShape, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (8.0, 5.4)
"""Inches."""

PAPER = "paper"
"""The series of what the paper prints, beside those of our checkpoints."""


def drawn(
    sweep: Mapping[str, Any],
    shape: Shape,
    plot: FigureShape,
    runs: Sequence[RunRecord],
    *,
    dark: bool = False,
) -> "Figure":
    """The figure; the paper's numbers are hollow."""
    x, y = read_columns((plot.x, plot.y), runs)
    series = {name: points(shape, runs, x, y, name) for name in _order(shape, plot)}
    paper = printed(sweep, shape, plot, series[plot.checkpoint])
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    axes = figure.add_axes((0.095, 0.19, 0.875, 0.625))
    canvas.dress(axes, colours)
    scatter.scale(axes, [p for found in (*series.values(), paper) for p in found], accuracy=y.get is None)
    shifts = scatter.shifts(series)
    for name, found in series.items():
        if found:
            scatter.mark(axes, found, name, shifts[name], colours, name == plot.checkpoint)
    if paper:
        scatter.mark_paper(axes, paper, series[plot.checkpoint], colours)
    _words(figure, axes, shape, plot, (x, y), colours)
    everything = series | ({PAPER: paper} if paper else {})
    left_out = scatter.write_names(figure, axes, everything, shifts | {PAPER: 0.0}, colours)
    _foot(figure, shape, runs, series[plot.checkpoint], left_out, colours)
    if not any(everything.values()):
        axes.set_yticks([])
        axes.set_xticks([])
        canvas.say_nothing_yet(axes, colours)
    return figure


def caption(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> str:
    """One sentence that says what the figure shows."""
    x, y = read_columns((plot.x, plot.y), runs)
    accuracy = " accuracy" if y.get is None else ""
    return f"{y.title}{accuracy} against {x.title} of each network; {' and '.join(_order(shape, plot))} checkpoint."


def printed(sweep: Mapping[str, Any], shape: Shape, plot: FigureShape, ours: Sequence[Point]) -> list[Point]:
    """The paper's numbers at its x; where it prints no x, at ours."""
    at = {p.label: p.x for p in ours}
    found = []
    for labels, numbers in by_row(sweep, shape, plot.checkpoint).items():
        label = ", ".join(labels)
        x = numbers[plot.x].value if plot.x in numbers else at.get(label)
        if x is not None and plot.y in numbers:
            number = numbers[plot.y]
            found.append(Point(label, x, Estimate(number.value, 1, std=number.std), False))
    return found


def points(shape: Shape, runs: Sequence[RunRecord], x: Column, y: Column, checkpoint: str) -> list[Point]:
    """The rows that have both numbers at that checkpoint."""
    found = []
    for group in gather(shape.rows, runs):
        across, _ = value_of(group, x, checkpoint)
        up, flags = value_of(group, y, checkpoint)
        if across is not None and up is not None:
            found.append(Point(group.label, float(across.value), up, bool(flags)))
    return found


def _order(shape: Shape, plot: FigureShape) -> list[str]:
    return [plot.checkpoint, *(name for name in shape.checkpoints if name != plot.checkpoint)]


def _words(
    figure: "Figure",
    axes: "Axes",
    shape: Shape,
    plot: FigureShape,
    columns: tuple[Column, Column],
    colours: canvas.Ink,
) -> None:
    """Title, axis labels, and the checkpoints' legend."""
    x, y = columns
    title = figure.text(
        0.035, 0.93, plot.title or shape.title, color=colours.text, size=14, weight="bold", parse_math=False
    )
    canvas.fit(title, 0.97)
    axes.set_xlabel(
        plot.x_label or (x.title if x.scale > 1 else x.heading),
        color=colours.text,
        size=11,
        labelpad=8,
        parse_math=False,
    )
    above = plot.y_label or (f"{y.title} accuracy (%)" if y.get is None else y.heading)
    figure.text(0.035, 0.855, above, color=colours.text, size=11, parse_math=False)
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        words = [name if name == PAPER else f"{name} checkpoint" for name in names]
        legend = figure.legend(
            handles, words, loc="lower right", bbox_to_anchor=(0.975, 0.838), ncols=len(names), frameon=False
        )
        for text in legend.get_texts():
            text.set(color=colours.text, size=10, parse_math=False)


def _foot(
    figure: "Figure",
    shape: Shape,
    runs: Sequence[RunRecord],
    found: Sequence[Point],
    left_out: int,
    colours: canvas.Ink,
) -> None:
    """What the bars are, how many images, and what is not drawn."""
    images = sorted({p.y.images for p in found if p.y.images is not None})
    spread = any(p.y.std is not None for p in found)
    alone = any(p.y.low is not None for p in found)
    seeds = sorted({p.y.seeds for p in found})
    words = [f"n = {' and '.join(f'{n:,}' for n in images)} test images"] if images else []
    words += ["bars: 95 % Wilson interval"] if alone else []
    words += ["bars: ± std over seeds"] if spread else []
    words += (
        [f"{'–'.join(dict.fromkeys((str(seeds[0]), str(seeds[-1]))))} seed{'s' if seeds[-1] > 1 else ''}"]
        if seeds
        else []
    )
    words += ["† flagged by the evaluation"] if any(p.flagged for p in found) else []
    count = closing.coverage(shape, runs)
    states = ("missing", "running", "interrupted", "failed")
    absent = [f"{getattr(count, state)} {state}" for state in states if getattr(count, state)]
    words += (
        ["named: none smaller is better" if len(found) > scatter.CROWDED else f"{left_out} names left out"]
        if left_out
        else []
    )
    lines = ["  ·  ".join(words), f"not drawn: {', '.join(absent)}" if absent else ""]
    for line, y in zip(filter(None, lines), (0.06, 0.022), strict=False):
        figure.text(0.035, y, line, color=colours.muted, size=9)
