"""Robust accuracy against the radius and the steps of an attack (RACL, Fig. 4; RobNet, Fig. 10)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advarch.reports import canvas
from advarch.reports.rows import norm_word, pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT, PANEL = 3.9, 3.6
"""Inches: of the picture, and the width of a panel."""

PANELS = {"eps": "radius ε ({norm})", "steps": "steps, at ε = {eps} ({norm})"}
"""What is varied, and what the axis says of the rest."""


def render(
    numbers: Mapping[str, float],
    table: Mapping[str, Sequence[float | int | str]],
    *,
    dark: bool = False,
) -> bytes:
    """A panel for the radii and one for the steps as PNG bytes, bars the 95 % Wilson interval."""
    del numbers
    colours = canvas.ink(dark)
    varied = [name for name in PANELS if name in table["varied"]]
    width = 0.9 + PANEL * max(1, len(varied))
    figure = canvas.blank(width, HEIGHT, colours)
    edges = {"left": 0.65 / width, "right": 1 - 0.2 / width, "top": 0.8, "bottom": 0.15, "wspace": 0.1}
    panels = figure.subplots(1, max(1, len(varied)), sharey=True, squeeze=False, gridspec_kw=edges)[0]
    for axes, name in zip(panels, varied, strict=False):
        canvas.dress(axes, colours, size=9)
        _panel(axes, name, table, colours)
    panels[0].set_ylim(0, 100)
    panels[0].set_ylabel("accuracy (%)", color=colours.muted, size=9)
    figure.text(
        0.12 / width,
        0.925,
        f"Accuracy under {table['attack'][0]}",
        color=colours.text,
        size=12,
        weight="bold",
    )
    figure.text(0.12 / width, 0.86, "bars: 95 % Wilson interval", color=colours.muted, size=9)
    return canvas.png(figure)


def _panel(
    axes: "Axes", name: str, table: Mapping[str, Sequence[float | int | str]], colours: canvas.Ink
) -> None:
    columns = (table[key] for key in ("varied", "value", "accuracy", "low", "high"))
    eps = next(float(e) for what, e in zip(table["varied"], table["eps"], strict=True) if what == name)
    said = PANELS[name].format(norm=norm_word(str(table["norm"][0])), eps=pixels(eps))
    rows = [
        (float(v), *(100 * float(n) for n in rest))
        for what, v, *rest in zip(*columns, strict=True)
        if what == name
    ]
    values, accuracies, lows, highs = zip(*rows, strict=True)
    below = [max(0.0, a - low) for a, low in zip(accuracies, lows, strict=True)]
    above = [max(0.0, high - a) for a, high in zip(accuracies, highs, strict=True)]
    axes.errorbar(
        values, accuracies, [below, above], fmt="o-", color=colours.strong, linewidth=1.6, markersize=4, elinewidth=1.2, clip_on=False
    )  # fmt: skip
    axes.set_xlabel(said, color=colours.muted, size=9, labelpad=3)
    if name == "steps" and values[-1] > 8 * values[0]:
        axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    elif name == "eps":
        axes.set_xticks(values, [pixels(value) if value else "0" for value in values])
