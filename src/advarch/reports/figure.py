"""The figures of a sweep, each drawn as its kind is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.records import RunRecord
from advarch.reports import bars, canvas, grid_map, lines, networks, panels, separation, surfaces
from advarch.reports.shape import FigureShape, Shape, read_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(sweep: Mapping[str, Any], runs: Sequence[RunRecord], path: Path, *, dark: bool = False) -> Path:
    """Write the first figure of a sweep as a PNG.

    Raises:
        InputError: the sweep has no figure, or its figure names a column that is not there.
    """
    return write_atomic(path, render(sweep, runs, dark=dark))


def render(
    sweep: Mapping[str, Any], runs: Sequence[RunRecord], *, number: int = 0, dark: bool = False
) -> bytes:
    """One of the figures of a sweep as PNG bytes."""
    return canvas.png(drawn(sweep, runs, number=number, dark=dark))


def drawn(
    sweep: Mapping[str, Any], runs: Sequence[RunRecord], *, number: int = 0, dark: bool = False
) -> "Figure":
    """One of the figures of a sweep, of any kind but `cells`, which `genotype_drawing` draws."""
    shape = read_shape(sweep)
    if number >= len(shape.figures):
        raise InputError("expected sweep.figure to say what to draw, came null; give it x, y and checkpoint")
    plot = shape.figures[number]
    if plot.kind in ("surfaces", "separation"):
        of_runs = surfaces if plot.kind == "surfaces" else separation
        return of_runs.drawn(shape, plot, runs, dark=dark)
    if plot.table:
        return panels.drawn(shape, plot, runs, dark=dark)
    kind = {"points": networks, "lines": lines, "bars": bars, "grid": grid_map}[plot.kind]
    return kind.drawn(sweep, shape, plot, runs, dark=dark)


def caption(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord]) -> str:
    """One sentence that says what the figure shows."""
    if plot.kind == "surfaces":
        return surfaces.caption(plot)
    if plot.kind == "separation":
        return separation.CAPTION
    if plot.table:
        return panels.caption(shape, plot)
    kind = {"points": networks, "lines": lines, "bars": bars, "grid": grid_map}[plot.kind]
    return kind.caption(shape, plot, runs)
