"""The FSP distance cell by cell (RobNet, Figs. 7 and 8), the deepest cells marked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from advarch.files import write_atomic
from advarch.reports import canvas

SIZE = (6.4, 3.9)
"""Inches."""

LOG_FROM = 30
"""The axis is logarithmic when the largest distance exceeds the smallest this many times."""


def draw(numbers: Mapping[str, float], table: Mapping[str, Sequence[float | int | str]], path: Path) -> Path:
    """Write the picture of one network."""
    return write_atomic(path, render(numbers, table))


def render(
    numbers: Mapping[str, float],
    table: Mapping[str, Sequence[float | int | str]],
    *,
    dark: bool = False,
) -> bytes:
    """The distances as PNG bytes, bars of one standard error, the mean of the last cells as a line across them."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    cells, distances, errors = (
        [float(value) for value in table[name]] for name in ("cell", "distance", "error")
    )
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    axes = figure.subplots(gridspec_kw={"left": 0.13, "right": 0.97, "top": 0.8, "bottom": 0.14})
    canvas.dress(axes, colours, size=9)
    first = len(cells) - int(numbers["deep_cells"])
    for part, colour in ((slice(0, first), colours.muted), (slice(first, None), colours.strong)):
        axes.errorbar(
            cells[part], distances[part], errors[part], fmt="o", color=colour, markersize=5, elinewidth=1.4
        )
    axes.plot(cells, distances, color=colours.muted, linewidth=1, alpha=0.6, zorder=1)
    mean = numbers["deep"]
    axes.plot(
        [cells[first] - 0.4, cells[-1] + 0.4], [mean, mean], color=colours.other, linewidth=1.6, zorder=1.5
    )
    if min(distances) > 0 and max(distances) / min(distances) > LOG_FROM:
        axes.set_yscale("log")
        axes.minorticks_off()
        # Powers of ten alone may leave one number on the axis.
        within_two_decades = max(distances) / min(distances) < 100
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_two_decades else (1,)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_ylim(0, 1.08 * max([high + error for high, error in zip(distances, errors, strict=True)]) or 1.0)  # fmt: skip
    canvas.count_on_x(axes, 10)
    axes.set_xlim(cells[0] - 0.6, cells[-1] + 0.6)
    axes.set_xlabel("cell, from the input on", color=colours.muted, size=9, labelpad=3)
    axes.set_ylabel("squared distance of FSP matrices", color=colours.muted, size=9)
    figure.text(
        0.02, 0.925, "Flow through the cells, clean to adversarial", color=colours.text, size=12, weight="bold"
    )  # fmt: skip
    figure.text(0.02, 0.86, _words(numbers), color=colours.muted, size=9)
    return canvas.png(figure)


def _words(numbers: Mapping[str, float]) -> str:
    clean, robust = (100 * numbers[name] for name in ("clean_accuracy", "robust_accuracy"))
    return (
        f"mean of the last {numbers['deep_cells']:.0f} cells (line): {canvas.digits(numbers['deep'])}; "
        f"accuracy {clean:.1f} % clean, {robust:.1f} % robust"
    )
