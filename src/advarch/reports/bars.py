"""The figure of a sweep as bars: a group for each row, a bar for each of some columns, what the paper prints as a hollow mark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advarch.records import RunRecord
from advarch.reports import canvas
from advarch.reports.cells import value_of
from advarch.reports.columns import Column, read_columns
from advarch.reports.estimate import Estimate
from advarch.reports.published import by_row
from advarch.reports.rows import gather
from advarch.reports.shape import FigureShape, Shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, LINE, HEAD, FOOT = 8.0, 0.27, 1.15, 0.85
"""Inches; the second is the height of a bar with its room."""


@dataclass(frozen=True)
class Bar:
    """One row in one column: what was measured, whether the evaluation is in doubt, what the paper prints, as a value and as text."""

    row: str
    column: Column
    value: Estimate | None
    flagged: bool
    printed: float | None
    text: str
    state: str


def drawn(
    sweep: Mapping[str, Any], shape: Shape, plot: FigureShape, runs: Sequence[RunRecord], *, dark: bool
) -> "Figure":
    """The figure: bars go to the right, so that long names of rows can be read."""
    columns = _columns(plot, runs)
    found = bars(sweep, shape, plot, runs)
    rows = list(dict.fromkeys(bar.row for bar in found))
    colours = canvas.ink(dark)
    inks = [colours.strong, colours.other, colours.muted]
    each = LINE * (len(columns) + 0.7)
    height = HEAD + each * max(1, len(rows)) + FOOT
    figure = canvas.blank(WIDTH, height, colours)
    left = min(0.4, 0.05 + 0.0108 * max(map(len, rows), default=0))
    axes = figure.add_axes((left, FOOT / height, 0.93 - left, 1 - (HEAD + FOOT) / height))
    canvas.dress(axes, colours)
    axes.grid(False, axis="y")
    ends = [bar.value.bounds[1] for bar in found if bar.value] + [
        bar.printed for bar in found if bar.printed is not None
    ]
    top = max(ends, default=1.0)
    for place, bar in enumerate(found):
        row, rank = divmod(place, len(columns))
        y = -(row * each + rank * LINE)
        _draw(axes, bar, y, top, inks[rank % 3], colours)
    axes.set_yticks([-(row * each + (len(columns) - 1) * LINE / 2) for row in range(len(rows))], rows)
    for text in axes.get_yticklabels():
        text.set(color=colours.text, parse_math=False)
    axes.set_ylim(-each * max(1, len(rows)) + 0.1, LINE)
    axes.set_xlim(0, 1.17 * top)
    _words(figure, height, shape, plot, columns, found, inks, colours)
    if not ends:
        canvas.say_nothing_yet(axes, colours)
    return figure


def bars(sweep: Mapping[str, Any], shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> list[Bar]:
    """Every bar, row by row."""
    printed = by_row(sweep, shape, plot.checkpoint)
    found = []
    for group in gather(shape.rows, runs):
        paper = printed.get(group.labels, {})
        states = {run.state for run in group.runs}
        state = next((s for s in ("failed", "running", "interrupted") if s in states), "missing")
        for column in _columns(plot, runs):
            estimate, flags = value_of(group, column, plot.checkpoint)
            number = paper.get(column.id)
            value, text = (number.value, number.text) if number else (None, "")
            found.append(Bar(group.label, column, estimate, bool(flags), value, text, state))
    return found


def caption(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> str:
    """One sentence that says what the figure shows."""
    del shape
    titles = " and ".join(column.title for column in _columns(plot, runs))
    return (
        f"{titles} of each row; {plot.checkpoint} checkpoint. The hollow mark at a bar is the paper's number."
    )


def _columns(plot: FigureShape, runs: Sequence[RunRecord]) -> tuple[Column, ...]:
    return read_columns([word.strip() for word in plot.y.split(",")], runs)


def _draw(axes: Any, bar: Bar, y: float, top: float, ink: str, colours: canvas.Ink) -> None:
    """The bar with its number inside, or beside it where it is short; the paper's number at its right."""
    high = 0.82 * LINE
    ends = [0.0]
    if bar.value is None:
        axes.text(0, y, f" {bar.state}", color=colours.muted, size=8.5, va="center", style="italic")
    else:
        low, far = bar.value.bounds
        axes.barh(y, bar.value.value, high, color=ink)
        axes.plot([low, far], [y, y], color=colours.text, linewidth=1.1, alpha=0.75)
        words = bar.column.show(bar.value.value) + (" †" if bar.flagged else "")
        # Not where the paper's line stands.
        if bar.printed is not None and low - 0.12 * top < bar.printed < far:
            low = min(low, bar.printed)
        inside = low > 0.2 * top
        place: dict[str, Any] = {"ha": "right", "color": colours.paper} if inside else {"color": colours.text}
        start = (low, y) if inside else (far, y)
        axes.annotate(
            words,
            start,
            (-6 if inside else 5, 0),
            textcoords="offset points",
            va="center_baseline",
            size=9,
            **place,
        )
        ends.append(far)
    if bar.printed is not None:
        axes.plot(bar.printed, y, **canvas.hollow(colours.text, colours))
        end = (max(bar.printed, *ends), y)
        axes.annotate(
            bar.text,
            end,
            (6, 0),
            textcoords="offset points",
            va="center_baseline",
            size=8.5,
            color=colours.muted,
        )


def _words(
    figure: Any,
    height: float,
    shape: Shape,
    plot: FigureShape,
    columns: Sequence[Column],
    found: Sequence[Bar],
    inks: Sequence[str],
    colours: canvas.Ink,
) -> None:
    """Title, what each colour is, and what the foot has to say."""
    figure.text(
        0.035,
        1 - 0.42 / height,
        plot.title or shape.title,
        color=colours.text,
        size=13,
        weight="bold",
        parse_math=False,
    )
    left = 0.035
    for rank, column in enumerate(columns):
        name = f"■ {column.title}" if len(columns) > 1 else plot.y_label or column.heading
        ink = inks[rank % 3] if len(columns) > 1 else colours.text
        text = figure.text(left, 1 - 0.76 / height, name, color=ink, size=10.5, parse_math=False)
        left += text.get_window_extent().width / figure.bbox.width + 0.03
    if len(columns) > 1:
        figure.text(
            left, 1 - 0.76 / height, plot.y_label or "%", color=colours.muted, size=10.5, parse_math=False
        )
    ours, paper = [bar.value for bar in found if bar.value], any(bar.printed is not None for bar in found)
    if paper:
        canvas.ours_and_paper(figure, 1 - 0.76 / height, colours, marker="s" if ours else "")
    words = [f"{plot.checkpoint} checkpoint"]
    words += (
        ["thin line: 95 % interval, or ± std over seeds"]
        if any(v.bounds[0] < v.bounds[1] for v in ours)
        else []
    )
    words += ["† flagged by the evaluation"] if any(bar.flagged for bar in found) else []
    figure.text(0.035, 0.16 / height, "  ·  ".join(words), color=colours.muted, size=9)
