"""DS-Net's attention weights by depth (Fig. 8): of one network, or the mean of several with their spread."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import TYPE_CHECKING

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.reports import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (6.4, 3.9)
"""Inches."""

LEAST = 0.1
"""The axis spans at least this much, so that balanced weights look balanced."""

Table = Mapping[str, Sequence[float | int | str]]

COLOURS = {
    "residual": "#2b7bba",
    "mbconv": "#d1600a",
    "dense": "#17935c",
    "ark": "#a0337f",
    "resnext": "#17935c",
    "dla": "#a0337f",
}


def spread(tables: Sequence[Table]) -> dict[str, Sequence[float | int | str]]:
    """Mean and standard deviation (of the networks there are) of the weights of several networks, seeds as a rule.

    Args:
        tables: columns module, block and weight of each.

    Returns:
        Columns module, block, weight, deviation.

    Raises:
        InputError: no networks, or networks of different modules or blocks.
    """
    if not tables:
        raise InputError("attention: expected at least one network, came none")
    places = [list(zip(table["module"], table["block"], strict=True)) for table in tables]
    if any(found != places[0] for found in places):
        raise InputError("attention: expected networks of the same modules and blocks, came different ones")
    weights = [[float(value) for value in row] for row in zip(*(t["weight"] for t in tables), strict=True)]
    return {
        "module": list(tables[0]["module"]),
        "block": list(tables[0]["block"]),
        "weight": [mean(row) for row in weights],
        "deviation": [pstdev(row) for row in weights],
    }


def draw(numbers: Mapping[str, float], table: Table, path: Path) -> Path:
    """Write the picture of one network, or of several, whose table `spread` has made."""
    return write_atomic(path, render(numbers, table))


def render(numbers: Mapping[str, float], table: Table, *, dark: bool = False) -> bytes:
    """A line for each block as PNG bytes; where the table has deviations, a band of one on either side."""
    del numbers
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    axes = figure.subplots(gridspec_kw={"left": 0.11, "right": 0.86, "top": 0.8, "bottom": 0.14})
    canvas.dress(axes, colours, size=9)
    modules = [int(value) for value in table["module"]]
    _lines(axes, table)
    canvas.count_on_x(axes, 15)
    axes.set_xlim(min(modules) - 0.3, max(modules) + 0.3)
    axes.set_xlabel("module, from the input on", color=colours.muted, size=9, labelpad=3)
    axes.set_ylabel("attention weight", color=colours.muted, size=9)
    figure.text(0.02, 0.925, "Attention by depth", color=colours.text, size=12, weight="bold")
    words = "weights of a module sum to 1"
    if "deviation" in table:
        words = f"mean over the networks; band: one standard deviation; {words}"
    figure.text(0.02, 0.86, words, color=colours.muted, size=9)
    return canvas.png(figure)


def _lines(axes: "Axes", table: Table) -> None:
    """A block that a module lacks (a pruned network's) leaves a gap."""
    columns = [table[name] for name in ("module", "block", "weight")]
    deviations = table.get("deviation", [0.0] * len(columns[0]))
    found = {(int(m), str(b)): (float(w), float(d)) for m, b, w, d in zip(*columns, deviations, strict=True)}
    modules = sorted({module for module, _ in found})
    ends = []
    for block in dict.fromkeys(block for _, block in found):
        points = [found.get((module, block), (math.nan, math.nan)) for module in modules]
        colour = COLOURS[block]
        axes.plot(
            modules, [weight for weight, _ in points], color=colour, linewidth=1.8, marker="o", markersize=3.5
        )
        if "deviation" in table:
            low, high = ([weight + side * spread for weight, spread in points] for side in (-1, 1))
            axes.fill_between(modules, low, high, color=colour, alpha=0.18, linewidth=0)
        last = max(module for module, name in found if name == block)
        ends.append((found[last, block][0], float(modules[-1]), block, colour))
    bottom, top = axes.get_ylim()
    room = max(0.0, LEAST - (top - bottom)) / 2
    axes.set_ylim(max(0.0, bottom - room), min(1.02, top + room))
    canvas.name_ends(axes, ends)
