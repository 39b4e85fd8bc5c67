"""The figure of a sweep that tells its robust candidates from the others (RobNet, Fig. 4)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from advarch.records import RunRecord
from advarch.reports import candidate_figures, candidate_study, canvas, run_tables
from advarch.reports.shape import FigureShape, Shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "The most and the least robust candidates by t-SNE of alpha, and the weights of a linear classifier of the two."


def drawn(shape: Shape, plot: FigureShape, runs: Sequence[RunRecord], *, dark: bool = False) -> "Figure":
    """Of the first run that has judged enough candidates."""
    judged = (run_tables.judged(run) for run in runs)
    found = next((some for some in judged if len(some) >= candidate_study.FEWEST), None)
    if found is not None:
        return candidate_figures.separated(candidate_study.separate(found), dark=dark)
    colours = canvas.ink(dark)
    figure = canvas.blank(*candidate_figures.SIZE, colours)
    figure.text(
        0.02, 0.925, plot.title or shape.title, color=colours.text, size=12, weight="bold", parse_math=False
    )
    words = f"fewer than {candidate_study.FEWEST} candidates are judged yet"
    figure.text(0.5, 0.45, words, color=colours.muted, size=13, ha="center")
    return figure
