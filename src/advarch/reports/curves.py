"""How training went: clean and robust validation accuracy per epoch, one small panel per run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.records import RunRecord
from advarch.reports import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4

MOST = 40
"""Panels; a sweep of more runs shows its first ones and says how many it leaves out."""

LINES = (("val_clean", "clean"), ("val_robust", "robust"))


def curves(
    runs: Sequence[RunRecord], path: Path, *, titles: Mapping[str, str] | None = None, dark: bool = False
) -> Path:
    """Write the training curves as a PNG; `titles` are the panels' by run name.

    Raises:
        InputError: no run has a curve.
    """
    return write_atomic(path, render(runs, titles=titles, dark=dark))


def drawable(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that have at least one epoch of validation accuracy."""
    return [run for run in runs if any(_line(run, key) for key, _ in LINES)]


def render(
    runs: Sequence[RunRecord], *, titles: Mapping[str, str] | None = None, dark: bool = False
) -> bytes:
    """The training curves as PNG bytes."""
    shown = drawable(runs)
    if not shown:
        raise InputError("expected a run with val_clean or val_robust per epoch, came none; train one first")
    left_out, shown = max(0, len(shown) - MOST), shown[:MOST]
    colours = canvas.ink(dark)
    across = min(COLUMNS, len(shown))
    down = math.ceil(len(shown) / across)
    width, head, foot = 2.3 * across + 0.9 if across > 2 else 7.2, 0.85, 0.75
    height = 1.85 * down + head + foot
    figure = canvas.blank(width, height, colours)
    panels = figure.subplots(
        down,
        across,
        sharex=True,
        sharey=True,
        squeeze=False,
        gridspec_kw={
            "left": 0.62 / width,
            "right": 1 - 0.75 / width,
            "top": 1 - head / height,
            "bottom": foot / height,
            "hspace": 0.34,
            "wspace": 0.14,
        },
    ).flatten()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for i, (axes, run) in enumerate(zip(panels, shown, strict=False)):
        canvas.dress(axes, colours, size=9)
        title = (titles or {}).get(run.name, run.name)
        _panel(axes, run, title, colours, named=i == across - 1, alone=i + across >= len(shown))
    note = f"  ·  {left_out} more runs not drawn" if left_out else ""
    figure.text(
        0.2 / width,
        1 - 0.34 / height,
        "Validation accuracy (%) per epoch",
        color=colours.text,
        size=13,
        weight="bold",
    )
    words = f"dot: the epoch chosen as best, on robust validation accuracy{note}"
    figure.text(0.2 / width, 0.14 / height, words, color=colours.muted, size=9)
    return canvas.png(figure)


def _panel(
    axes: "Axes", run: RunRecord, title: str, colours: canvas.Ink, *, named: bool, alone: bool
) -> None:
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])
    canvas.count_on_x(axes, 4)
    state = "" if run.state == "done" else f" ({run.state})"
    axes.set_title(
        _cut(title, 26 - len(state)) + state, loc="left", color=colours.text, size=10, pad=5, parse_math=False
    )
    axes.tick_params(labelbottom=alone)
    if alone:
        axes.set_xlabel("epoch", color=colours.muted, size=9, labelpad=3)
    for (key, name), colour, style in zip(LINES, (colours.other, colours.strong), ("--", "-"), strict=True):
        line = _line(run, key)
        if not line:
            continue
        xs, ys = zip(*line, strict=True)
        axes.plot(
            xs, ys, style, color=colour, linewidth=1.8, marker="." if len(xs) == 1 else "", clip_on=False
        )
        if named:
            axes.annotate(
                name,
                (xs[-1], ys[-1]),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=colour,
                size=9,
                annotation_clip=False,
            )
        best = run.train.best_epoch if run.train else None
        if key == "val_robust" and best is not None and best in xs:
            axes.plot(
                [best],
                [ys[xs.index(best)]],
                "o",
                color=colour,
                markersize=6,
                markeredgecolor=colours.paper,
                clip_on=False,
            )


def _line(run: RunRecord, key: str) -> list[tuple[float, float]]:
    """(epoch, percent) pairs of the epochs that were validated."""
    rows = ((row.get("epoch", i + 1.0), row.get(key)) for i, row in enumerate(run.curves))
    return [(epoch, 100 * value) for epoch, value in rows if value is not None and math.isfinite(value)]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[-(length - 1) :]
