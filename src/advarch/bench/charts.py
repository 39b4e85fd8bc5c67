"""Two pictures: ratios to peers with their targets, and time per multiply-add against multiply-adds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from advarch.bench.record import Record
from advarch.bench.targets import number
from advarch.bench.work import Point, by_what
from advarch.reports import canvas

WIDTH, LINE, HEAD, FOOT, LEFT = 9.0, 0.34, 0.95, 0.75, 4.4
"""Inches; LINE is the height of a bar with its room, LEFT where bars begin."""

SHORT = 0.12
"""Share of the longest bar or mark, on which a number has room."""

MARKERS = "osD^"


@dataclass(frozen=True)
class Bar:
    """A ratio: of which row, to which peer, what is asked for."""

    name: str
    value: float
    asked: float | None

    @property
    def ahead(self) -> bool | None:
        """None where nothing is asked."""
        return None if self.asked is None else self.value >= self.asked


def bars(record: Record) -> list[Bar]:
    """Every ratio to a peer, in the order of the rows."""
    asked = {(v.row, peer): v.target.bound for v in record.verdicts for peer in v.target.figures}
    return [
        Bar(f"{row.name}\nto {peer}", value, asked.get((row.name, peer)))
        for row in record.rows
        for peer, value in row.ratios.items()
    ]


def within(bar: Bar, longest: float) -> bool:
    """Whether a bar's number stands inside its end, for beyond it the mark of what is asked is too near."""
    room = SHORT * longest
    return bar.asked is not None and room < bar.value < bar.asked < bar.value + room


def ratios(record: Record) -> bytes:
    """Times as fast as each peer, as PNG: a line across where a target is, at 1 the peer itself."""
    found, colours = bars(record), canvas.LIGHT
    height = HEAD + LINE * max(1, len(found)) + FOOT
    figure = canvas.blank(WIDTH, height, colours)
    axes = figure.add_axes((LEFT / WIDTH, FOOT / height, 0.93 - LEFT / WIDTH, 1 - (HEAD + FOOT) / height))
    canvas.dress(axes, colours, size=8)
    axes.grid(False, axis="y")
    inks = {True: colours.strong, False: colours.other, None: colours.muted}
    top = max((max(bar.value, bar.asked or 0.0) for bar in found), default=1.0)
    for place, bar in enumerate(found):
        axes.barh(-place, bar.value, 0.72, color=inks[bar.ahead])
        if bar.asked is not None:
            for width, ink in ((4, colours.paper), (2, colours.text)):
                axes.plot([bar.asked] * 2, [-place - 0.45, -place + 0.45], color=ink, linewidth=width)
        inside = within(bar, top)
        axes.annotate(
            number(bar.value), (bar.value, -place), (-4 if inside else 6, 0), textcoords="offset points", va="center",
            ha="right" if inside else "left", size=8.5, color=colours.paper if inside else colours.text,
        )  # fmt: skip
    axes.axvline(1, color=colours.muted, linewidth=0.8)
    axes.set_yticks([-place for place in range(len(found))], [bar.name for bar in found])
    for text in axes.get_yticklabels():
        text.set(color=colours.text, parse_math=False, size=7.5, linespacing=1.05)
    axes.set_ylim(-max(1, len(found)) + 0.4, 0.6)
    axes.set_xlim(0, 1.12 * top)
    figure.text(
        0.02,
        1 - 0.36 / height,
        "Times as fast as peers, side by side",
        color=colours.text,
        size=13,
        weight="bold",
    )
    left = 0.02
    for ink, words in (
        (colours.strong, "ahead of what is asked"),
        (colours.other, "behind"),
        (colours.muted, "nothing asked"),
    ):
        text = figure.text(left, 1 - 0.66 / height, f"■ {words}", color=ink, size=9.5)
        left += text.get_window_extent().width / figure.bbox.width + 0.03
    _foot(figure, height, record, "line across: what is asked; thin line: the peer")
    return canvas.png(figure)


def cost(record: Record) -> bytes:
    """Picoseconds per multiply-add against a step's multiply-adds, both logarithmic, as PNG: level is proportional."""
    found, colours = by_what(record.rows), canvas.LIGHT
    height = 4.6
    figure = canvas.blank(WIDTH, height, colours)
    axes = figure.add_axes((0.08, 0.19, 0.86, 0.68))
    canvas.dress(axes, colours, size=9)
    axes.set_xscale("log")
    axes.set_yscale("log")
    inks = [colours.strong, colours.other, colours.text, colours.muted]
    for rank, (what, points) in enumerate(found.items()):
        _line(axes, what, points, inks[rank % 4], MARKERS[rank % 4])
    each = [point.each for points in found.values() for point in points]
    least = min(each)
    axes.set_ylim(least / 1.2, max(2 * least, 1.4 * max(each)))
    axes.set_xlabel("multiply-adds of a step", color=colours.muted, size=9.5)
    _ticks(axes)
    axes.legend(frameon=False, fontsize=9, labelcolor=colours.text)
    figure.text(0.02, 0.93, "Picoseconds per multiply-add", color=colours.text, size=13, weight="bold")
    _foot(figure, height, record, "where a line is level, time is proportional to work")
    return canvas.png(figure)


def _line(axes: Any, what: str, points: Sequence[Point], ink: str, marker: str) -> None:
    ordered = sorted(points, key=lambda point: point.macs)
    x, y = [point.macs for point in ordered], [point.each for point in ordered]
    axes.plot(x, y, color=ink, marker=marker, markersize=5, linewidth=1.4, label=what)
    for point in (ordered[0], ordered[-1]):
        axes.annotate(
            f"{point.value:g}", (point.macs, point.each), (0, 6), textcoords="offset points", ha="center", size=8,
            color=ink,
        )  # fmt: skip


def _ticks(axes: Any) -> None:
    """Plain numbers: 20, not 2 x 10^1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: canvas.digits(value / 1e9) + " G"))
    axes.tick_params(which="minor", length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())


def _foot(figure: Any, height: float, record: Record, words: str) -> None:
    where = f"{record.machine.get('device', record.device)}, {record.machine.get('date', '')}"
    said = [words, where, *(["quick=true: says nothing about speed"] if record.quick else [])]
    figure.text(0.02, 0.14 / height, "  ·  ".join(said), color=canvas.LIGHT.muted, size=8)
