"""How one search went: losses, entropy, constraint and multiplier per epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from advarch.reports import canvas

Rows = Sequence[Mapping[str, Any]]
"""search.jsonl, one mapping per epoch."""

PANELS = (
    ("loss", ("loss", "loss_arch", "ce", "ce_arch", "gradient_norm")),
    ("entropy (nats)", ("entropy", "entropy_inputs")),
    ("constraint", ("gap",)),
    ("multiplier", ("multiplier",)),
    ("accuracy", ("val_clean",)),
)
"""What is drawn in one panel: its heading and the keys of search.jsonl."""

WIDTH, HEIGHT, HEAD, FOOT = 6.4, 1.25, 0.6, 0.5
"""Inches; the height is that of a panel."""


def render(rows: Rows, *, dark: bool = False) -> bytes:
    """The curves as PNG bytes; a panel for which no epoch has a number is left out."""
    from matplotlib.ticker import MaxNLocator

    colours = canvas.ink(dark)
    panels = [(title, _lines(rows, keys)) for title, keys in PANELS]
    panels = [(title, lines) for title, lines in panels if lines]
    height = HEAD + HEIGHT * len(panels) + FOOT
    figure = canvas.blank(WIDTH, height, colours)
    room = {"left": 0.12, "right": 0.8, "top": 1 - HEAD / height, "bottom": FOOT / height, "hspace": 0.22}
    stacked = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw=room)[:, 0]
    for axes, (title, lines) in zip(stacked, panels, strict=True):
        canvas.dress(axes, colours, size=8)
        axes.set_ylabel(title, color=colours.muted, size=9)
        inks = [colours.strong, colours.other, colours.muted, colours.text, colours.strong]
        ends = []
        for (key, points), colour in zip(lines.items(), inks, strict=False):
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, linewidth=1.6, marker="." if len(xs) == 1 else "")
            ends.append((ys[-1], xs[-1], key, colour))
        canvas.name_ends(axes, ends)
    stacked[-1].set_xlabel("epoch", color=colours.muted, size=9, labelpad=3)
    stacked[-1].xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    figure.text(
        0.02, 1 - 0.3 / height, "The search, epoch by epoch", color=colours.text, size=12, weight="bold"
    )
    return canvas.png(figure)


def _lines(rows: Rows, keys: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """key -> (epoch, value) of the epochs that have a finite number there."""
    found = {
        key: [(float(row["epoch"]), float(row[key])) for row in rows if math.isfinite(row.get(key, math.nan))]
        for key in keys
    }
    return {key: points for key, points in found.items() if points}
