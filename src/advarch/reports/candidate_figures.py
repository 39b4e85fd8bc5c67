"""RobNet's Figs. 3 to 6 of the judged candidates of one search."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from advarch.genotype.candidates import Candidate
from advarch.reports import canvas
from advarch.reports.candidate_study import Correlation, Separation, correlations, statistic
from advarch.reports.canvas import Ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (8.4, 3.9)
"""Inches."""

NAMED = 60
"""Elements of alpha whose weights are named."""


def separation(found: Separation, *, dark: bool = False) -> bytes:
    """Alpha by t-SNE, and the classifier's weights (Fig. 4), as PNG bytes."""
    return canvas.png(separated(found, dark=dark))


def separated(found: Separation, *, dark: bool = False) -> "Figure":
    """The same as a figure."""
    colours = canvas.ink(dark)
    figure, (left, right) = _two(colours)
    for robust, colour, marker in ((False, colours.other, "D"), (True, colours.strong, "o")):
        places = [place for place, is_it in zip(found.places, found.robust, strict=True) if is_it is robust]
        left.plot(
            *zip(*places, strict=True),
            marker,
            color=colour,
            markersize=4,
            label="robust" if robust else "not",
        )
    left.set_xticks([])
    left.set_yticks([])
    left.set_xlabel("alpha by t-SNE: robust (circles), non-robust (diamonds)", color=colours.muted, size=9)
    order = range(len(found.weights))
    ink = [colours.strong if weight >= 0 else colours.other for weight in found.weights]
    right.bar(order, found.weights, color=ink, width=0.75)
    right.grid(False, axis="x")
    if len(found.weights) <= NAMED:
        right.set_xticks(order, found.operations, rotation=90, size=6.5)
    right.set_ylabel("weight of the classifier", color=colours.muted, size=9)
    positive = sum(weight > 0 for weight in found.weights)
    words = (
        f"{len(found.robust)} candidates; a linear classifier of alpha tells {100 * found.accuracy:.1f} % of them apart, "
        f"{positive} of its {len(found.weights)} weights are positive"
    )
    return _finish(figure, "Robust and non-robust candidates", words, colours)


def density(candidates: Sequence[Candidate], *, dark: bool = False) -> bytes:
    """Robust accuracy against density (Fig. 5), and its histogram (Fig. 3b), as PNG bytes."""
    colours = canvas.ink(dark)
    figure, (left, right) = _two(colours)
    robust = [100 * found.robust for found in candidates]
    left.plot(
        [found.density for found in candidates], robust, "o", color=colours.strong, markersize=4, alpha=0.7
    )
    _label(left, "architecture density", "robust accuracy (%)", colours)
    right.hist(robust, bins=min(30, max(5, len(robust) // 5)), color=colours.strong)
    _label(right, "robust accuracy (%)", "candidates", colours)
    return canvas.png(_finish(figure, "Density and robustness", _said(candidates, "density"), colours))


def direct_edges(
    candidates: Sequence[Candidate],
    budgets: Sequence[Sequence[int]] = ((0, 7), (8, 10), (11, 14)),
    *,
    dark: bool = False,
) -> bytes:
    """Robust accuracy against convolutions, and against their share on direct edges in each budget (Fig. 6), as PNG bytes."""
    colours = canvas.ink(dark)
    figure, (left, right) = _two(colours)
    looks = (("o", colours.strong), ("D", colours.other), ("x", colours.text))
    kinds = ("convolutions", "direct_convolutions", "skip_convolutions")
    for kind, name, (marker, ink) in zip(kinds, ("all", "direct", "skip"), looks, strict=True):
        means = _means(candidates, kind)
        left.plot(*zip(*means, strict=True), f"-{marker}", color=ink, markersize=4, linewidth=1.2, label=name)
    _label(left, "convolutions of a cell", "mean robust accuracy (%)", colours)
    for (fewest, most), (marker, ink) in zip(budgets, looks, strict=False):
        inside = [found for found in candidates if fewest <= found.convolutions <= most]
        xs, ys = (
            [statistic(found, "direct_share") for found in inside],
            [100 * found.robust for found in inside],
        )
        right.plot(xs, ys, marker, color=ink, markersize=4, alpha=0.7, label=f"{fewest} to {most}")
    _label(right, "share of the convolutions on direct edges", "robust accuracy (%)", colours)
    for axes in (left, right):
        legend = axes.legend(frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_color(colours.text)
    said = _said(candidates, "direct_convolutions")
    return canvas.png(_finish(figure, "Convolutions on direct edges", said, colours))


def words(found: Correlation) -> str:
    """A statistic's correlations in a line."""
    return (
        f"{found.statistic.replace('_', ' ')} and robust accuracy: Pearson {found.pearson:.2f}, "
        f"Spearman {found.spearman:.2f}, Kendall {found.kendall:.2f}"
    )


def _means(candidates: Sequence[Candidate], name: str) -> list[tuple[float, float]]:
    """Mean robust accuracy in percent of the candidates of each value."""
    groups: dict[float, list[float]] = {}
    for found in candidates:
        groups.setdefault(statistic(found, name), []).append(100 * found.robust)
    return [(value, sum(group) / len(group)) for value, group in sorted(groups.items())]


def _said(candidates: Sequence[Candidate], name: str) -> str:
    found = next(row for row in correlations(candidates) if row.statistic == name)
    return f"{len(candidates)} candidates; {words(found)}"


def _two(colours: Ink) -> tuple["Figure", Sequence["Axes"]]:
    figure = canvas.blank(*SIZE, colours)
    edges = {"left": 0.08, "right": 0.98, "top": 0.8, "bottom": 0.2, "wspace": 0.22}
    both = figure.subplots(ncols=2, gridspec_kw=edges)
    for axes in both:
        canvas.dress(axes, colours, size=9)
    return figure, both


def _label(axes: "Axes", across: str, up: str, colours: Ink) -> None:
    axes.set_xlabel(across, color=colours.muted, size=9, labelpad=3)
    axes.set_ylabel(up, color=colours.muted, size=9)


def _finish(figure: "Figure", title: str, words: str, colours: Ink) -> "Figure":
    figure.text(0.02, 0.925, title, color=colours.text, size=12, weight="bold")
    figure.text(0.02, 0.86, words, color=colours.muted, size=9)
    return figure
