"""How far each batch's gradient of the last layer lies from their mean (DS-Net, Fig. 7b)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from advarch.files import write_atomic
from advarch.reports import canvas

SIZE = (6.4, 3.6)
"""Inches."""


def draw(numbers: Mapping[str, float], table: Mapping[str, Sequence[float | int | str]], path: Path) -> Path:
    """Write the picture of one network."""
    return write_atomic(path, render(numbers, table))


def render(
    numbers: Mapping[str, float],
    table: Mapping[str, Sequence[float | int | str]],
    *,
    dark: bool = False,
) -> bytes:
    """A bar for each batch as PNG bytes, the batches in order of their deviation; the line is the variance, the bars' mean."""
    deviations = sorted(float(value) for value in table["deviation"])
    variance = numbers["variance"]
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    axes = figure.subplots(gridspec_kw={"left": 0.13, "right": 0.97, "top": 0.78, "bottom": 0.15})
    canvas.dress(axes, colours, size=9)
    axes.grid(False, axis="x")
    axes.bar(range(1, len(deviations) + 1), deviations, width=0.75, color=colours.strong)
    axes.axhline(variance, color=colours.other, linewidth=1.6)
    canvas.count_on_x(axes, 10)
    axes.set_xlim(0.3, len(deviations) + 0.7)
    axes.set_ylim(0, 1.08 * max(deviations) or 1.0)
    axes.set_xlabel("batch, in order of its deviation", color=colours.muted, size=9, labelpad=3)
    axes.set_ylabel("squared deviation from the mean", color=colours.muted, size=9)
    figure.text(0.02, 0.92, "Gradient of the last layer", color=colours.text, size=12, weight="bold")
    words = (
        f"variance over {len(deviations)} batches (line): {canvas.digits(variance)}; "
        f"its root is {numbers['relative_deviation']:.2g} times the mean gradient"
    )
    figure.text(0.02, 0.85, words, color=colours.muted, size=9)
    return canvas.png(figure)
