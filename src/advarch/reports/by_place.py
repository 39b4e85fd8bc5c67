"""Numbers of a network by place, from the input to the logits: a line for each kind of number."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advarch.reports import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (6.4, 3.9)
"""Inches."""

LOG_FROM = 30
"""The axis is logarithmic when the largest number exceeds the smallest this many times."""

NAMED = 12
"""Places that are named on the axis; more of them are counted."""

JOINED = 30
"""Places up to which lines join the numbers; more of them are dots."""

Line = Sequence[float]


@dataclass(frozen=True)
class Places:
    """What is drawn: `lines` by name over `places` by name; `apart` is set off from the others as the last place."""

    title: str
    words: str
    across: str
    up: str
    places: Sequence[str]
    lines: Mapping[str, Line]
    apart: bool = False


def render(drawn: Places, *, dark: bool = False) -> bytes:
    """The picture as PNG bytes."""
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    named = len(drawn.places) <= NAMED and max(map(len, drawn.places)) > 2
    edges = {"left": 0.13, "right": 0.97, "top": 0.8, "bottom": 0.23 if named else 0.14}
    axes = figure.subplots(gridspec_kw=edges)
    canvas.dress(axes, colours, size=9)
    # Places that are numbers count as they do.
    first = int(drawn.places[0]) if drawn.places[0].isdigit() else 1
    at = list(range(first, first + len(drawn.places)))
    row = len(at) - drawn.apart
    style = "-" if len(at) <= JOINED else ""
    for (name, values), (marker, size, ink) in zip(drawn.lines.items(), _looks(colours), strict=False):
        axes.plot(
            at[:row], values[:row], style + marker, color=ink, linewidth=1.4, markersize=size, label=name
        )
        axes.plot(at[row:], values[row:], "D", color=colours.other, markersize=6)
    if len(drawn.lines) > 1:
        legend = figure.legend(
            loc="upper right",
            bbox_to_anchor=(0.985, 0.985),
            ncols=len(drawn.lines),
            frameon=False,
            handlelength=1.2,
            handletextpad=0.4,
            columnspacing=1.2,
        )
        for text in legend.get_texts():
            text.set(color=colours.text, size=9, parse_math=False)
    _up(axes, [value for values in drawn.lines.values() for value in values if math.isfinite(value)])
    if named:
        axes.set_xticks(at, drawn.places, rotation=30, ha="right")
    else:
        canvas.count_on_x(axes, 12)
    beside = max(0.6, 0.015 * len(at))
    axes.set_xlim(at[0] - beside, at[-1] + beside)
    axes.set_xlabel(drawn.across, color=colours.muted, size=9, labelpad=3)
    axes.set_ylabel(drawn.up, color=colours.muted, size=9)
    figure.text(0.02, 0.925, drawn.title, color=colours.text, size=12, weight="bold")
    figure.text(0.02, 0.86, drawn.words, color=colours.muted, size=9)
    return canvas.png(figure)


def _looks(colours: canvas.Ink) -> Iterator[tuple[str, float, str]]:
    """Marker, its size, and colour of one line after the other; small ones lie on large ones."""
    yield from (("o", 6, colours.strong), ("o", 3.5, colours.other), ("x", 4, colours.text))
    yield from itertools.repeat((".", 4, colours.muted))


def _up(axes: "Axes", values: Sequence[float]) -> None:
    """The scale of the numbers: from zero, or logarithmic."""
    if not values:
        return
    if min(values) > 0 and max(values) / min(values) > LOG_FROM:
        axes.set_yscale("log")
        axes.minorticks_off()
    elif min(values) >= 0:
        axes.set_ylim(0, 1.08 * max(values) or 1.0)
