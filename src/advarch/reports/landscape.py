"""The surface of the loss along two directions (DS-Net, Fig. 7a): heat map with contours, and in three dimensions."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advarch.files import write_atomic
from advarch.reports import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

SIZE = (7.6, 3.9)
"""Inches."""

LOG_FROM = 30
"""Heights and colours are logarithmic when the largest loss exceeds the smallest this many times."""

COLOURS = "viridis"

Grid = Sequence[Sequence[float]]
"""Losses; row i is of the i-th beta, column j of the j-th alpha. NaN where the loss is not finite."""


def draw(numbers: Mapping[str, float], table: Mapping[str, Sequence[float | int | str]], path: Path) -> Path:
    """Write the picture of one network."""
    return write_atomic(path, render(numbers, table))


def render(
    numbers: Mapping[str, float],
    table: Mapping[str, Sequence[float | int | str]],
    *,
    dark: bool = False,
) -> bytes:
    """Both pictures side by side as PNG bytes, in the same colours."""
    colours = canvas.ink(dark)
    figure = canvas.blank(*SIZE, colours)
    steps, losses = grid(table)
    finite = [loss for row in losses for loss in row if math.isfinite(loss)] or [0.0, 1.0]
    norm, logarithmic = colouring(finite)
    _map(figure, steps, losses, norm, colours)
    relief(figure, (0.515, 0.0, 0.42, 0.84), steps, losses, norm, colours, logarithmic=logarithmic)
    figure.text(0.014, 0.93, "Loss around the weights", color=colours.text, size=12, weight="bold")
    words = (
        f"mean loss in nats along two random directions: {canvas.digits(numbers['centre'])} at the centre, "
        f"from {canvas.digits(numbers['lowest'])} to {canvas.digits(numbers['highest'])}"
    )
    figure.text(0.014, 0.875, words, color=colours.muted, size=9)
    return canvas.png(figure)


def colouring(losses: Sequence[float]) -> tuple["Normalize", bool]:
    """The scale of colours of finite losses, and whether it is logarithmic."""
    from matplotlib.colors import LogNorm, Normalize

    lowest, highest = min(losses), max(losses)
    logarithmic = lowest > 0 and highest / lowest > LOG_FROM
    return (LogNorm if logarithmic else Normalize)(
        lowest, highest if highest > lowest else lowest + 1
    ), logarithmic


def grid(
    table: Mapping[str, Sequence[float | int | str]], names: Sequence[str] = ("alpha", "beta", "loss")
) -> tuple[list[float], Grid]:
    """The steps, which are the same along both directions, and the losses at them."""
    points = zip(*(map(float, table[name]) for name in names), strict=True)
    found = {(alpha, beta): loss if math.isfinite(loss) else math.nan for alpha, beta, loss in points}
    steps = sorted({alpha for alpha, _ in found})
    return steps, [[found[alpha, beta] for alpha in steps] for beta in steps]


def _map(
    figure: "Figure", steps: Sequence[float], losses: Grid, norm: "Normalize", colours: canvas.Ink
) -> None:
    axes = figure.add_axes((0.085, 0.14, 0.345, 0.672))
    axes.set_facecolor(colours.paper)
    image = axes.pcolormesh(steps, steps, losses, cmap=COLOURS, norm=norm, shading="nearest", rasterized=True)
    axes.contour(steps, steps, losses, levels=_levels(norm), colors="white", linewidths=0.8, alpha=0.7)
    axes.plot([0], [0], "+", color="white", markersize=11, markeredgewidth=1.8)
    axes.set_aspect("equal")
    axes.set_xlabel("α (filter lengths)", color=colours.muted, size=9)
    axes.set_ylabel("β (filter lengths)", color=colours.muted, size=9, labelpad=0)
    _quiet(axes, colours)
    bar = figure.colorbar(image, cax=figure.add_axes((0.442, 0.14, 0.018, 0.672)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=colours.muted, labelsize=9, length=0)
    bar.ax.minorticks_off()


def relief(
    figure: "Figure",
    box: tuple[float, float, float, float],
    steps: Sequence[float],
    losses: Grid,
    norm: "Normalize",
    colours: canvas.Ink,
    *,
    logarithmic: bool,
) -> Any:
    """The surface in three dimensions. Its axes have no logarithmic scale that draws it, so its height is the exponent."""
    import numpy as np
    from matplotlib import colormaps, rc_context
    from matplotlib.ticker import MaxNLocator

    with rc_context({"grid.color": colours.grid}):
        axes: Any = figure.add_axes(box, projection="3d")
    axes.set_facecolor(colours.paper)
    alphas, betas = np.meshgrid(steps, steps)
    heights = np.array(losses)
    faces = colormaps[COLOURS](norm(np.ma.masked_invalid(heights)))
    axes.plot_surface(
        alphas,
        betas,
        np.log10(heights) if logarithmic else heights,
        facecolors=faces,
        rstride=1,
        cstride=1,
        shade=False,
        edgecolor=(0, 0, 0, 0.18),
        linewidth=0.3,
    )
    axes.view_init(elev=28, azim=-58)
    axes.set_xlabel("α", color=colours.muted, size=9, labelpad=-2)
    axes.set_ylabel("β", color=colours.muted, size=9, labelpad=-2)
    axes.set_zlabel("loss", color=colours.muted, size=9, labelpad=0)
    if logarithmic:
        axes.zaxis.set_major_formatter(lambda power, _: f"$10^{{{power:g}}}$")
    _quiet(axes, colours)
    axes.zaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=logarithmic))
    axes.tick_params(pad=-1)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0, 0, 0, 0))
        axis.line.set_color(colours.muted)
    return axes


def _levels(norm: "Normalize") -> list[float]:
    """Losses of the contours, evenly spaced in colour."""
    return [float(norm.inverse(step / 12)) for step in range(1, 12)]


def _quiet(axes: "Axes", colours: canvas.Ink) -> None:
    """Few ticks, at the same places along both directions, and no box."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.tick_params(colors=colours.muted, labelsize=9, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
