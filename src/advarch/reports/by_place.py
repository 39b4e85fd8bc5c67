"""Numbers of a network by place, from the input to the logits: a line for each kind of number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advarch.reports import canvas

SIZE = (6.4, 3.9)
"""Inches."""

LOG_FROM = 30
"""The axis is logarithmic when the largest number exceeds the smallest this many times."""

NAMED = 12
"""Places that are named on the axis; more of them are counted."""

STYLES = ("-", "--", ":")

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
    from matplotlib.ticker import MaxNLocator

    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    several = len(drawn.lines) > 1
    named = len(drawn.places) <= NAMED and max(map(len, drawn.places)) > 2
    edges = {"left": 0.13, "right": 0.8 if several else 0.97, "top": 0.8, "bottom": 0.26 if named else 0.14}
    axes = figure.subplots(gridspec_kw=edges)
    canvas.dress(axes, colours, size=9)
    inks = (colours.strong, colours.other, colours.muted)
    at = list(range(1, len(drawn.places) + 1))
    if _spread(drawn.lines):
        axes.set_yscale("log")
    ends = []
    for i, (name, values) in enumerate(drawn.lines.items()):
        colour, row = inks[i % len(inks)], len(at) - drawn.apart
        axes.plot(
            at[:row],
            values[:row],
            STYLES[i % len(STYLES)],
            color=colour,
            linewidth=1.6,
            marker="o",
            markersize=3.5,
        )
        if drawn.apart:
            axes.plot(at[row:], values[row:], "D", color=colours.other, markersize=6)
        ends.append((values[-1], float(at[-1]), name, colour))
    if not _spread(drawn.lines):
        axes.set_ylim(0, 1.08 * max((value for line in drawn.lines.values() for value in line if math.isfinite(value)), default=1.0) or 1.0)  # fmt: skip
    if several:
        canvas.name_ends(axes, ends)
    if named:
        axes.set_xticks(at, drawn.places, rotation=30, ha="right")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 5, 10], integer=True))
    axes.set_xlim(0.4, at[-1] + 0.6)
    axes.set_xlabel(drawn.across, color=colours.muted, size=9, labelpad=3)
    axes.set_ylabel(drawn.up, color=colours.muted, size=9)
    figure.text(0.02, 0.925, drawn.title, color=colours.text, size=12, weight="bold")
    figure.text(0.02, 0.86, drawn.words, color=colours.muted, size=9)
    return canvas.png(figure)


def _spread(lines: Mapping[str, Line]) -> bool:
    values = [value for line in lines.values() for value in line if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_FROM
