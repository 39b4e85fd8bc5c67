"""The figure of a sweep as a heat map: rows labelled by two or three numbers, a cell for each, a panel for each last of three."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.reports import canvas
from advarch.reports.cells import value_of
from advarch.reports.columns import Column, read_columns
from advarch.reports.published import by_row
from advarch.reports.rows import gather
from advarch.reports.shape import FigureShape, Shape, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

CELL = 0.62
"""Inches."""

LEFT, RIGHT, HEAD, FOOT, GAP = 0.75, 0.95, 1.2, 0.95, 0.3
"""Room around and between the panels, in inches."""

SHADES = {
    False: ("#eef4fa", "#a9cde9", "#4d93cc", "#0b5fa5", "#06325c"),
    True: ("#1b2a3a", "#1d4a70", "#2f7fb8", "#6cb6f5", "#d9eeff"),
}
"""From the lowest number to the highest, for a light and a dark page."""


@dataclass(frozen=True)
class Square:
    """One row of the sweep: its numbers, what was measured (None: nothing yet), what the paper prints, why there is nothing."""

    place: tuple[float, ...]
    value: float | None
    text: str
    printed: str
    state: str


def drawn(
    sweep: Mapping[str, Any], shape: Shape, plot: FigureShape, runs: Sequence[RunRecord], *, dark: bool
) -> "Figure":
    """The figure."""
    (column,) = read_columns((plot.y,), runs)
    found = squares(sweep, shape, plot, runs, column)
    panels: dict[tuple[float, ...], list[Square]] = {}
    for square in found:
        panels.setdefault(square.place[2:], []).append(square)
    across, up = (sorted({square.place[i] for square in found}) for i in (0, 1))
    wide, high = CELL * len(across), CELL * len(up)
    width = max(LEFT + len(panels) * (wide + GAP) - GAP + RIGHT, 6.4)
    height = HEAD + high + FOOT
    colours = canvas.ink(dark)
    figure = canvas.blank(width, height, colours)
    shades, low, top = _shades(found, dark)
    names = _names(plot, found)
    for number, key in enumerate(sorted(panels)):
        box = ((LEFT + number * (wide + GAP)) / width, FOOT / height, wide / width, high / height)
        axes = figure.add_axes(box)
        _dress(axes, across, up, colours, first=number == 0)
        for square in panels[key]:
            _fill(
                axes,
                square,
                (across.index(square.place[0]), up.index(square.place[1])),
                shades,
                (low, top),
                colours,
            )
        if key:
            axes.set_title(f"{names[2]}: {key[0]:g}", color=colours.text, size=10, pad=6, parse_math=False)
        axes.set_xlabel(names[0], color=colours.muted, size=9, labelpad=4, parse_math=False)
        if number == 0:
            axes.set_ylabel(names[1], color=colours.muted, size=9, labelpad=6, parse_math=False)
    if any(square.value is not None for square in found):
        _scale(
            figure, (1 - 0.7 / width, FOOT / height, 0.16 / width, high / height), shades, (low, top), colours
        )
    _words(figure, height, width, plot, shape, column, found, colours)
    return figure


def squares(
    sweep: Mapping[str, Any], shape: Shape, plot: FigureShape, runs: Sequence[RunRecord], column: Column
) -> list[Square]:
    """Every row of the sweep as a square.

    Raises:
        InputError: `x` is no label of the rows, or its values are no lists of two or three numbers.
    """
    if plot.x not in shape.rows:
        raise InputError(
            f"expected sweep.figure.x to be one of sweep.rows, came '{plot.x}'; {nearest(plot.x, shape.rows)}"
        )
    printed = by_row(sweep, shape, plot.checkpoint)
    found = []
    for group in gather(shape.rows, runs):
        place = group.values[shape.rows.index(plot.x)]
        if (
            not isinstance(place, list)
            or len(place) not in (2, 3)
            or not all(isinstance(n, int | float) for n in place)
        ):
            raise InputError(
                f"expected sweep.figure.x to be a label of two or three numbers, came {place!r} for {plot.x}"
            )
        estimate, flags = value_of(group, column, plot.checkpoint)
        numbers = printed.get(group.labels, {})
        paper = numbers[plot.y].text if plot.y in numbers else ""
        text = "" if estimate is None else _short(column, estimate.value) + ("†" if flags else "")
        value = None if estimate is None else float(estimate.value)
        states = {run.state for run in group.runs}
        state = next((s for s in ("failed", "running", "interrupted") if s in states), "missing")
        found.append(Square(tuple(map(float, place)), value, text, paper, state))
    return found


def caption(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> str:
    """One sentence that says what the figure shows."""
    del shape
    (column,) = read_columns((plot.y,), runs)
    return f"{column.title} of each of {plot.x.rpartition('.')[2]}; {plot.checkpoint} checkpoint. Small print: the paper's number."


def _short(column: Column, value: float) -> str:
    return f"{value:.1f}" if column.get is None else column.show(value)


def _names(plot: FigureShape, found: Sequence[Square]) -> list[str]:
    """What the two or three numbers are: the words of x_label, separated by commas."""
    words = [word.strip() for word in plot.x_label.split(",") if word.strip()]
    count = len(found[0].place) if found else 2
    return words if len(words) == count else [f"number {i + 1}" for i in range(count)]


def _shades(found: Sequence[Square], dark: bool) -> tuple["Colormap", float, float]:
    from matplotlib.colors import LinearSegmentedColormap

    values = [square.value for square in found if square.value is not None] or [0.0, 1.0]
    low, top = min(values), max(values)
    return LinearSegmentedColormap.from_list("accuracy", SHADES[dark]), low, top if top > low else low + 1


def _dress(
    axes: "Axes", across: Sequence[float], up: Sequence[float], colours: canvas.Ink, *, first: bool
) -> None:
    axes.set_facecolor(colours.paper)
    axes.set_xlim(-0.5, len(across) - 0.5)
    axes.set_ylim(-0.5, len(up) - 0.5)
    axes.set_xticks(range(len(across)), [f"{n:g}" for n in across])
    axes.set_yticks(range(len(up)), [f"{n:g}" for n in up] if first else [""] * len(up))
    axes.tick_params(colors=colours.muted, labelsize=9, length=0, pad=4)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _fill(
    axes: "Axes",
    square: Square,
    at: tuple[int, int],
    shades: "Colormap",
    ends: tuple[float, float],
    colours: canvas.Ink,
) -> None:
    """A square in the shade of its number, or hatched where there is none, with its words."""
    from matplotlib.patches import Rectangle

    corner = (at[0] - 0.47, at[1] - 0.47)
    if square.value is None:
        ink = colours.other if square.state == "failed" else colours.muted
        hatched: dict[str, Any] = {"hatch": "////", "linewidth": 0.8, "alpha": 0.5}
        axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=colours.paper, edgecolor=ink, **hatched))
        words, ink = "" if square.state == "missing" else square.state, colours.text
        shade = colours.paper
    else:
        red, green, blue, _ = shades((square.value - ends[0]) / (ends[1] - ends[0]))
        axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=(red, green, blue), edgecolor="none"))
        # The ink that stands out against the shade (luminance by Rec. 709).
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5
        words, ink, shade = square.text, "#1d2430" if light else "#ffffff", "none"
    box = {"facecolor": shade, "edgecolor": "none", "pad": 1.0} if shade != "none" else None
    lift = 0.12 if square.printed else 0.0
    size = 9 if square.value is not None else 7
    for text, y, points in ((words, at[1] + lift, size), (square.printed, at[1] - 0.24, 6.5)):
        if text:
            axes.text(
                at[0], y, text, color=ink, size=points, ha="center", va="center", bbox=box, parse_math=False
            )


def _scale(
    figure: Any,
    box: tuple[float, float, float, float],
    shades: "Colormap",
    ends: tuple[float, float],
    colours: canvas.Ink,
) -> None:
    """The bar of shades."""
    axes = figure.add_axes(box)
    axes.imshow(
        [[i / 255] for i in range(256)], cmap=shades, origin="lower", aspect="auto", extent=(0, 1, *ends)
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(colors=colours.muted, labelsize=8, length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _words(
    figure: Any,
    height: float,
    width: float,
    plot: FigureShape,
    shape: Shape,
    column: Column,
    found: Sequence[Square],
    colours: canvas.Ink,
) -> None:
    above = plot.y_label or (f"{column.title} accuracy (%)" if column.get is None else column.heading)
    left = 0.25 / width
    figure.text(
        left,
        1 - 0.4 / height,
        plot.title or shape.title,
        color=colours.text,
        size=13,
        weight="bold",
        parse_math=False,
    )
    figure.text(left, 1 - 0.72 / height, above, color=colours.text, size=10.5, parse_math=False)
    absent = sum(square.value is None for square in found)
    words = [f"{plot.checkpoint} checkpoint"]
    words += [f"hatched: {absent} of {len(found)} not there"] if absent else []
    words += ["small print: the paper's number"] if any(square.printed for square in found) else []
    words += ["† flagged by the evaluation"] if any("†" in square.text for square in found) else []
    figure.text(left, 0.16 / height, "  ·  ".join(words), color=colours.muted, size=9)
