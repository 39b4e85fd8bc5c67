"""A surface of each network side by side, of one scale: the loss around the trained weights (DS-Net, Fig. 7a)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from advarch.records import RunRecord
from advarch.reports import canvas, landscape, run_tables
from advarch.reports.rows import gather
from advarch.reports.shape import FigureShape, Shape, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS, SIDE, HEAD, FOOT = 4, 2.55, 1.0, 0.45
"""Surfaces beside each other; inches of one, above and below them."""


def drawn(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord], *, dark: bool = False) -> "Figure":
    """The first run's surface of every row; all have the same heights and colours."""
    labels = {group.label: group.runs for group in gather(shape.rows, runs) if plot.shows(group.label)}
    tables = {
        label: next(
            filter(None, (run_tables.table(run, plot.table, plot.checkpoint) for run in members)), None
        )
        for label, members in labels.items()
    }
    names = (*words(plot.x), plot.y)
    grids = {label: landscape.grid(table, names) for label, table in tables.items() if table}
    finite = [z for _, rows in grids.values() for row in rows for z in row if math.isfinite(z)] or [0.0, 1.0]
    norm, logarithmic = landscape.colouring(finite)
    colours = canvas.ink(dark)
    across = min(ACROSS, len(labels)) or 1
    down = math.ceil(len(labels) / across) or 1
    width, height = SIDE * across + 0.3, HEAD + SIDE * down + FOOT
    figure = canvas.blank(width, height, colours)
    for place, label in enumerate(labels):
        row, column = divmod(place, across)
        left, bottom = 0.05 + column * SIDE, FOOT + (down - 1 - row) * SIDE
        middle = (left + SIDE / 2) / width
        title = label if label in grids else f"{label}: not there yet"
        figure.text(
            middle, (bottom + SIDE - 0.02) / height, title, color=colours.text, size=9.5, ha="center", parse_math=False
        )  # fmt: skip
        if label in grids:
            box = (left / width, bottom / height, 0.92 * SIDE / width, 0.95 * SIDE / height)
            axes = landscape.relief(figure, box, *grids[label], norm, colours, logarithmic=logarithmic)
            low, high = min(finite), max(finite)
            axes.set_zlabel("")
            axes.set_zlim(*(map(math.log10, (low, high)) if logarithmic else (low, max(high, low + 1e-9))))
    figure.text(
        0.25 / width, 1 - 0.4 / height, plot.title or shape.title, color=colours.text, size=13, weight="bold", parse_math=False
    )  # fmt: skip
    figure.text(0.25 / width, 1 - 0.7 / height, plot.y_label or plot.y, color=colours.text, size=10.5)
    said = f"{plot.checkpoint} checkpoint  ·  the same heights and colours in all"
    figure.text(0.25 / width, 0.16 / height, said, color=colours.muted, size=9)
    return figure


def caption(plot: FigureShape) -> str:
    """One sentence that says what the figure shows."""
    return f"{plot.title or plot.y_label or plot.y}, a surface for each row; {plot.checkpoint} checkpoint."
