"""How one search went: losses, entropy, constraint and multiplier per epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from advarch.reports import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
"""search.jsonl, one mapping per epoch."""

PANELS: tuple[tuple[str, float, dict[str, str]], ...] = (
    (
        "loss (nats)",
        1,
        {
            "loss": "weights",
            "ce": "weights, clean",
            "ce_adv": "weights, adversarial",
            "ce_backbone": "backbone alone",
            "kl": "KL divergence",
            "loss_arch": "architecture",
            "ce_arch": "architecture, clean",
            "ce_adv_arch": "architecture, adversarial",
        },
    ),
    ("gradient norm", 1, {"gradient_norm": "weights", "gradient_norm_arch": "architecture"}),
    ("entropy (nats)", 1, {"entropy": "operations", "entropy_inputs": "inputs"}),
    ("constraint", 1, {"gap": "weights", "gap_arch": "architecture"}),
    ("confidence", 1, {"confidence": "architecture"}),
    ("multiplier", 1, {"multiplier": "weights", "multiplier_arch": "architecture"}),
    ("factor of the cost", 1, {"factor_arch": "architecture"}),
    (
        "accuracy (%)",
        100,
        {
            "train_accuracy": "training, adversarial",
            "val_clean": "validation, clean",
            "val_robust": "validation, adversarial",
        },
    ),
)
"""What is drawn in one panel: its heading, the factor of its numbers, the keys of search.jsonl and what they are called."""

ALONE = ("loss (nats)", "entropy (nats)", "accuracy (%)")
"""Panels in which a line is named even where it is the only one."""

WIDTH, HEIGHT, HEAD, FOOT = 6.4, 1.25, 0.6, 0.5
"""Inches; the height is that of a panel."""


def render(rows: Rows, *, operations: int | None = None, dark: bool = False) -> bytes:
    """The curves as PNG bytes; a panel for which no epoch has a number is left out. See `drawn`."""
    return canvas.png(drawn(rows, operations=operations, dark=dark))


def drawn(rows: Rows, *, operations: int | None = None, dark: bool = False) -> "Figure":
    """The curves.

    Args:
        rows: of search.jsonl.
        operations: candidates on an edge; their logarithm, the entropy of a uniform choice, is a line across.
        dark: for a dark page.
    """
    colours = canvas.ink(dark)
    panels = [(title, _lines(rows, names, factor)) for title, factor, names in PANELS]
    panels = [(title, lines) for title, lines in panels if lines]
    height = HEAD + HEIGHT * len(panels) + FOOT
    figure = canvas.blank(WIDTH, height, colours)
    room = {"left": 0.12, "right": 0.72, "top": 1 - HEAD / height, "bottom": FOOT / height, "hspace": 0.22}
    stacked = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw=room)[:, 0]
    for axes, (title, lines) in zip(stacked, panels, strict=True):
        canvas.dress(axes, colours, size=8)
        axes.set_ylabel(title, color=colours.muted, size=9)
        inks = [colours.strong, colours.other, colours.muted, colours.text, colours.strong]
        ends = []
        for (name, points), colour in zip(lines.items(), inks, strict=False):
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, linewidth=1.6, marker="." if len(xs) == 1 else "", label=name)
            ends.append((ys[-1], xs[-1], name, colour))
        if "operations" in lines and operations is not None:
            undecided = math.log(operations)
            first, last = lines["operations"][0][0], lines["operations"][-1][0]
            axes.plot([first, last], [undecided] * 2, "--", color=colours.muted, linewidth=1)
            ends.append((undecided, last, f"ln {operations}: undecided", colours.muted))
        if title == "accuracy (%)":
            canvas.within_percent(axes)
        canvas.name_ends(axes, ends if len(ends) > 1 or title in ALONE else [])
    stacked[-1].set_xlabel("epoch", color=colours.muted, size=9, labelpad=3)
    canvas.count_on_x(stacked[-1], 8)
    figure.text(
        0.02, 1 - 0.3 / height, "The search, epoch by epoch", color=colours.text, size=12, weight="bold"
    )
    return figure


def _lines(rows: Rows, names: Mapping[str, str], factor: float) -> dict[str, list[tuple[float, float]]]:
    """name -> (epoch, value) of the epochs that have a finite number there."""
    found = {
        name: [
            (float(row["epoch"]), factor * float(row[key]))
            for row in rows
            if math.isfinite(row.get(key, math.nan))
        ]
        for key, name in names.items()
    }
    return {name: points for name, points in found.items() if points}
