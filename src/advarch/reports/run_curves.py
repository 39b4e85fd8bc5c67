"""How one training went: accuracies and learning rate per epoch, the best epoch marked, robust overfitting in words."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advarch.files import write_atomic
from advarch.reports import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (6.4, 4.2)
"""Inches."""

Rows = Sequence[Mapping[str, float]]
"""metrics.csv, one mapping per epoch."""

LINES = (
    ("train_accuracy", "training", ":"),
    ("val_clean", "validation, clean", "--"),
    ("val_robust", "validation, robust", "-"),
)


def draw(rows: Rows, best_epoch: int, path: Path) -> Path:
    """Write curves.png of one run."""
    return write_atomic(path, render(rows, best_epoch))


def drawable(rows: Rows) -> bool:
    """Whether there is a validated epoch."""
    return any(line(rows, key) for key, _, _ in LINES[1:])


def render(rows: Rows, best_epoch: int | None, *, dark: bool = False) -> bytes:
    """The curves as PNG bytes; `best_epoch` counts from 1, None where none is chosen yet."""
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    upper, lower = figure.subplots(
        2,
        1,
        sharex=True,
        gridspec_kw={
            "height_ratios": [3, 1],
            "left": 0.1,
            "right": 0.76,
            "top": 0.84,
            "bottom": 0.12,
            "hspace": 0.16,
        },
    )
    for axes in (upper, lower):
        canvas.dress(axes, colours, size=9)
    _accuracies(upper, rows, best_epoch, colours)
    rates = [(epoch, rate / 100) for epoch, rate in line(rows, "lr") if rate > 0]
    if rates:
        lower.plot(*zip(*rates, strict=True), color=colours.muted, linewidth=1.5, drawstyle="steps-mid")
        lower.set_yscale("log")
        low, high = min(rate for _, rate in rates), max(rate for _, rate in rates)
        lower.set_ylim(low / 2, high * 2)
        lower.minorticks_off()
    lower.set_ylabel("rate", color=colours.muted, size=9)
    lower.set_xlabel("epoch", color=colours.muted, size=9, labelpad=3)
    canvas.count_on_x(lower, 8)
    figure.text(0.02, 0.93, "Accuracy (%) and learning rate", color=colours.text, size=12, weight="bold")
    figure.text(0.02, 0.875, overfitting(rows, best_epoch), color=colours.muted, size=9)
    return canvas.png(figure)


def overfitting(rows: Rows, best_epoch: int | None) -> str:
    """What robust accuracy lost after its best epoch, in words; '' without a best epoch."""
    robust = dict(line(rows, "val_robust"))
    if best_epoch not in robust:
        return ""
    last = max(robust)
    best = f"best epoch {best_epoch}: robust {robust[best_epoch]:.1f} %"
    if last == best_epoch:
        return f"{best}, the last one"
    lost = robust[best_epoch] - robust[last]
    change = f"{lost:.1f} points less" if lost > 0 else "the same"
    return f"{best}; after the last, {last:.0f}, {change}"


def line(rows: Rows, key: str) -> list[tuple[float, float]]:
    """(epoch, percent) of the epochs that have a number there."""
    found = ((row.get("epoch", i + 1.0), row.get(key, math.nan)) for i, row in enumerate(rows))
    return [(epoch, 100 * value) for epoch, value in found if math.isfinite(value)]


def _accuracies(axes: "Axes", rows: Rows, best_epoch: int | None, colours: canvas.Ink) -> None:
    ends = []
    for (key, name, style), colour in zip(LINES, (colours.muted, colours.other, colours.strong), strict=True):
        points = line(rows, key)
        if not points:
            continue
        xs, ys = zip(*points, strict=True)
        axes.plot(
            xs, ys, style, color=colour, linewidth=1.8, marker="." if len(xs) == 1 else "", clip_on=False
        )
        ends.append((ys[-1], xs[-1], name, colour))
        if key == "val_robust" and best_epoch is not None and best_epoch in xs:
            axes.axvline(best_epoch, color=colours.muted, linewidth=0.8)
            axes.plot([best_epoch], [ys[xs.index(best_epoch)]], "o", color=colour, markersize=6, markeredgecolor=colours.paper, clip_on=False)  # fmt: skip
    top = max([10.0, *(y for key, _, _ in LINES for _, y in line(rows, key))])
    axes.set_ylim(0, min(1.06 * top, 100))
    canvas.name_ends(axes, ends)
