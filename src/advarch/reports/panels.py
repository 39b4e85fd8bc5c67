"""The figure of a sweep from its runs' tables: points, lines, bars or a histogram of their columns, in one panel or several."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.reports import canvas, run_tables
from advarch.reports.correlation import pearson
from advarch.reports.lines import PALETTE
from advarch.reports.rows import Group, gather, headings
from advarch.reports.run_tables import heading
from advarch.reports.shape import FigureShape, Shape, nearest, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HIGH, HEAD, FOOT = 8.0, (4.2, 2.1), 1.35, 0.85
"""Inches: of the figure, of one panel alone and of one among rows of them, above and below the panels."""

LEGEND = 0.25
"""Inches of the head that are the legend's."""

MOST_ACROSS = 4

MARKERS = "oDs^vPX*"

Place = float | str

Series = dict[str, list[tuple[Place, float]]]


class Cells(NamedTuple):
    """Panels by title, each with its series by name; the rows of the sweep without a number."""

    panels: dict[str, Series]
    absent: list[str]


def drawn(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord], *, dark: bool = False) -> "Figure":
    """The figure; panels share the scale of y, and that of x unless each is a column of its own."""
    found = read(shape, plot, runs)
    titles = list(found.panels) or [""]
    across = len(titles) if len(titles) <= MOST_ACROSS else MOST_ACROSS
    down = math.ceil(len(titles) / across)
    high = {1: HIGH[0] if across == 1 else 3.0}.get(down, HIGH[1] * down)
    head = HEAD if any(len(series) > 1 for series in found.panels.values()) else HEAD - LEGEND
    height = head + high + FOOT
    colours = canvas.ink(dark)
    figure = canvas.blank(WIDTH, height, colours)
    room = {"left": 0.085, "right": 0.975, "top": 1 - head / height, "bottom": FOOT / height}
    spaces = {"hspace": 0.42, "wspace": 0.12}
    shared = plot.panels != "columns"
    every = figure.subplots(
        down, across, sharex=shared, sharey=True, squeeze=False, gridspec_kw={**room, **spaces}
    )
    for axes in every.flatten()[len(titles) :]:
        axes.set_visible(False)
    for place, (axes, title) in enumerate(zip(every.flatten(), titles, strict=False)):
        canvas.dress(axes, colours, size=9)
        _panel(axes, plot, found.panels.get(title, {}), colours)
        axes.set_title(title, loc="left", color=colours.text, size=9.5, pad=4, parse_math=False)
        if plot.panels == "columns":
            axes.locator_params(axis="x", nbins=3)
            axes.xaxis.set_major_formatter("{x:g}")
        axes.tick_params(labelbottom=not shared or place + across >= len(titles))
        if place + across >= len(titles):
            axes.set_xlabel(_across(plot), color=colours.muted, size=9.5, labelpad=4, parse_math=False)
    if plot.kind != "histogram" and set(words(plot.y)) <= set(run_tables.ACCURACIES):
        canvas.within_percent(every[0, 0])
    _words(figure, every[0, 0], shape, plot, found, colours)
    if not found.panels:
        canvas.say_nothing_yet(every[0, 0], colours)
    return figure


def read(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> Cells:
    """What is drawn where.

    Raises:
        InputError: a table or a column that no run has.
    """
    groups = [group for group in gather(shape.rows, runs) if plot.shows(group.label)]
    several, panels, absent = len(groups) > 1, dict[str, Series](), list[str]()
    xs, ys = words(plot.x if plot.kind != "histogram" else plot.y), words(plot.y)
    for group in groups:
        name = _row_name(shape, group) if several or plot.panels == "rows" else ""
        some = False
        for x, y in itertools.product(xs, ys):
            points = _points(shape, plot, group, x, y)
            column = heading(y) if len(ys) > 1 else heading(x) if len(xs) > 1 else ""
            panel = {"rows": name, "columns": column}.get(plot.panels, "")
            series = {"rows": column, "columns": name}.get(
                plot.panels, ", ".join(filter(None, (name, column)))
            )
            if points:
                some = True
                panels.setdefault(panel, {})[series] = points
        if not some:
            absent.append(f"{_row_name(shape, group)} ({_state(group)})")
    return Cells(panels, absent)


def caption(shape: Shape, plot: FigureShape) -> str:
    """One sentence that says what the figure shows."""
    ups = " and ".join(heading(word) for word in words(plot.y))
    if plot.kind == "histogram":
        return f"How many have which {ups}."
    each = {"rows": f", a panel for each {headings(shape.rows)[0]}", "columns": ", a panel for each"}
    return f"{ups} against {_across(plot)}{each.get(plot.panels, '')}.".capitalize()


def _points(shape: Shape, plot: FigureShape, group: Group, x: str, y: str) -> list[tuple[Place, float]]:
    """The finite pairs of two columns over the runs of a row; for lines and bars the mean at each x, from left to right."""
    found: dict[Place, list[float]] = {}
    pairs = list[tuple[Place, float]]()
    for run in group.runs:
        table = run_tables.table(run, plot.table, plot.checkpoint)
        if not table:
            continue
        places, values = _places(shape, group, table, x), _column(table, y)
        pairs += [
            (place, float(value))
            for place, value in zip(places, values, strict=True)
            if math.isfinite(value) and (isinstance(place, str) or math.isfinite(place))
        ]
    if plot.kind not in ("lines", "bars"):
        return pairs
    for place, value in pairs:
        found.setdefault(place, []).append(value)
    means = [(place, sum(values) / len(values)) for place, values in found.items()]
    return means if any(isinstance(place, str) for place in found) else sorted(means)


def _places(shape: Shape, group: Group, table: Mapping[str, Sequence[Any]], x: str) -> Sequence[Place]:
    """A column; times the row's labels that `x` names beside it."""
    first, *others = (word.strip() for word in x.split("*"))
    factor = 1.0
    for label in others:
        value = group.values[shape.rows.index(label)] if label in shape.rows else None
        if not isinstance(value, int | float):
            raise InputError(
                f"expected a factor of sweep.figure.x to be a row's label with numbers, came '{label}'"
            )
        factor *= value
    column = _column(table, first)
    return [place * factor for place in column] if others else column


def _column(table: Mapping[str, Sequence[Any]], name: str) -> Sequence[Any]:
    if name in table:
        return table[name]
    if name in run_tables.HEADINGS or name.startswith("flow_"):
        return [math.nan] * max(map(len, table.values()))
    raise InputError(f"expected a column of the table, came '{name}'; {nearest(name, table)}")


def _panel(axes: "Axes", plot: FigureShape, series: Series, colours: canvas.Ink) -> None:
    looks = zip(itertools.cycle(PALETTE), itertools.cycle(MARKERS), strict=False)
    named = list(dict.fromkeys(place for points in series.values() for place, _ in points))
    by_name = any(isinstance(place, str) for place in named)
    for number, ((name, points), (ink, marker)) in enumerate(zip(series.items(), looks, strict=False)):
        at = [named.index(place) if by_name else float(place) for place, _ in points]
        values = [value for _, value in points]
        if plot.kind == "histogram":
            axes.hist(values, bins=min(40, max(5, len(values) // 5)), color=ink, label=name, alpha=0.85)
        elif plot.kind == "bars":
            wide = 0.82 / len(series)
            middle = [place + (number - (len(series) - 1) / 2) * wide for place in at]
            axes.bar(middle, values, wide, color=ink, label=name)
        elif plot.kind == "lines":
            axes.plot(at, values, "-", marker=marker, color=ink, markersize=4.5, linewidth=1.6, label=name)
        else:
            small = 3 if len(values) > 300 else 4.5
            axes.plot(
                at, values, marker, color=ink, markersize=small, alpha=0.65, markeredgewidth=0, label=name
            )
            if len(words(plot.y)) == 1 and len(values) > 2:
                _say_correlation(axes, at, values, name, len(series), colours)
    if by_name:
        short = [str(place) for place in named]
        axes.set_xticks(range(len(named)), short, rotation=0 if sum(map(len, short)) < 90 else 35)
        axes.grid(False, axis="x")


def _say_correlation(
    axes: "Axes", at: Sequence[float], values: Sequence[float], name: str, series: int, colours: canvas.Ink
) -> None:
    """Pearson's r above a panel of one series, else in the legend."""
    r = pearson(at, values)
    if series == 1:
        axes.set_title(f"r = {r:.2f}", loc="right", color=colours.muted, size=9, pad=4)
    else:
        axes.get_lines()[-1].set_label(f"{name}, r = {r:.2f}")


def _words(
    figure: "Figure", axes: "Axes", shape: Shape, plot: FigureShape, found: Cells, colours: canvas.Ink
) -> None:
    """Title, what the height is, the legend, and what is not drawn."""
    height = figure.get_size_inches()[1]
    title = figure.text(
        0.035, 1 - 0.4 / height, plot.title or shape.title, color=colours.text, size=13, weight="bold", parse_math=False
    )  # fmt: skip
    canvas.fit(title, 0.97)
    figure.text(0.035, 1 - 0.7 / height, _up(plot), color=colours.text, size=10.5, parse_math=False)
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        legend = figure.legend(
            handles, names, loc="upper left", bbox_to_anchor=(0.025, 1 - 0.76 / height), ncols=min(5, len(names)),
            frameon=False, handlelength=1.2, handletextpad=0.4, columnspacing=1.2,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set(color=colours.text, size=9, parse_math=False)
    counts = {len(points) for series in found.panels.values() for points in series.values()}
    every = plot.table == "candidates" and plot.kind in ("points", "histogram") and counts
    said = [f"{max(counts):,} candidates"] if every else []
    said += [f"{plot.checkpoint} checkpoint"] if plot.table.startswith("analysis.") else []
    said += [f"not drawn: {', '.join(found.absent)}"] if found.absent else []
    foot = figure.text(
        0.035, 0.16 / height, "  ·  ".join(said), color=colours.muted, size=9, parse_math=False
    )
    canvas.fit(foot, 0.985)


def _across(plot: FigureShape) -> str:
    if plot.kind == "histogram":
        return plot.x_label or heading(words(plot.y)[0])
    return plot.x_label or heading(words(plot.x)[0].partition("*")[0].strip())


def _up(plot: FigureShape) -> str:
    return plot.y_label or ("How many" if plot.kind == "histogram" else heading(words(plot.y)[0]))


def _row_name(shape: Shape, group: Group) -> str:
    """The row's label; a bare number with what it is."""
    bare = len(group.values) == 1 and isinstance(group.values[0], int | float)
    return f"{headings(shape.rows)[0]} = {group.label}" if bare else group.label


def _state(group: Group) -> str:
    states = {run.state for run in group.runs}
    return next((s for s in ("failed", "running", "interrupted", "missing") if s in states), "not recorded")
