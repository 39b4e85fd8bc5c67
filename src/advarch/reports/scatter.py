"""Points on axes: their scale, their marks and error bars, and their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advarch.reports.canvas import Ink, hollow
from advarch.reports.estimate import Estimate
from advarch.reports.labels import Box, Name, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_FROM = 30
"""The x axis is logarithmic when its largest value exceeds its smallest this many times."""

DODGE = 4.0
"""Points by which the checkpoints of one network stand apart, so that their error bars do not cover each other."""


CROWDED = 24
"""More networks than this: smaller points, bars at one checkpoint only, and names only where none smaller is better."""


@dataclass(frozen=True)
class Point:
    """One network at one checkpoint."""

    label: str
    x: float
    y: Estimate
    flagged: bool


def shifts(series: Mapping[str, Sequence[Point]]) -> dict[str, float]:
    """How far each checkpoint's points stand beside their x, in points; a crowd has no room for it."""
    crowded = any(len(found) > CROWDED for found in series.values())
    return {
        name: 0 if crowded else (2 * rank - (len(series) - 1)) * DODGE for rank, name in enumerate(series)
    }


def front(found: Sequence[Point]) -> list[Point]:
    """The networks that none at most as large beats, the best first."""
    return sorted(
        (p for p in found if not any(q.x <= p.x and q.y.value > p.y.value for q in found)),
        key=lambda p: (-p.y.value, p.x),
    )


def scale(axes: "Axes", found: Sequence[Point], *, accuracy: bool) -> None:
    """Limits with room for names, and 18,700 written as 18.7k."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not found:
        return
    xs = [p.x for p in found]
    low, high = min(p.y.bounds[0] for p in found), max(p.y.bounds[1] for p in found)
    room = 0.08 * (high - low) or (5.0 if accuracy else 1.0)
    bottom, top = low - room, high + room
    axes.set_ylim(*((max(bottom, 0.0), min(top, 100.0)) if accuracy else (bottom, top)))
    if min(xs) > 0 and max(xs) / min(xs) > LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(min(xs) / 1.5, max(xs) * 1.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(xs) / min(xs) < 1000 else (1.0,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        side = 0.09 * (max(xs) - min(xs)) or 0.1 * abs(xs[0]) or 1.0
        axes.set_xlim(min(xs) - side, max(xs) + side)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """A count as an axis writes it: 54612 -> 54.6k, 46160474 -> 46.2M."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:g}"


def mark(axes: "Axes", found: Sequence[Point], name: str, shift: float, colours: Ink, first: bool) -> None:
    """The first checkpoint as filled circles, the others as hollow diamonds, `shift` points to the right."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    where = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    colour = colours.strong if first else colours.other
    crowded = len(found) > CROWDED
    for p in found if first or not crowded else []:
        axes.plot(
            [p.x, p.x],
            p.y.bounds,
            color=colour,
            alpha=0.55 if first and not crowded else 0.35,
            linewidth=1.5,
            transform=where,
            zorder=2,
        )
    style: dict[str, Any] = {
        "marker": "o",
        "markersize": 7.5,
        "markerfacecolor": colour,
        "markeredgecolor": colours.paper,
    }
    if not first:
        style = {"marker": "D", "markersize": 5, "markerfacecolor": colours.paper, "markeredgecolor": colour}
    if crowded:
        style |= {"markersize": 5.5 if first else 3, "markeredgewidth": 0.8, "alpha": 1 if first else 0.5}
    # A point at 0 or 100 % lies on the frame, and is drawn whole.
    style = {"markeredgewidth": 1.3, "zorder": 4 if first else 3.5, "clip_on": False} | style
    xs, ys = [p.x for p in found], [p.y.value for p in found]
    axes.plot(xs, ys, linestyle="none", label=name, transform=where, **style)


def mark_paper(axes: "Axes", paper: Sequence[Point], ours: Sequence[Point], colours: Ink) -> None:
    """What the paper prints as hollow squares, each joined to ours of the same network."""
    at = {p.label: p for p in ours}
    for p in paper:
        if p.label in at:
            ends = [p, at[p.label]]
            axes.plot([e.x for e in ends], [e.y.value for e in ends], ":", color=colours.muted, linewidth=1)
    xs, ys = [p.x for p in paper], [p.y.value for p in paper]
    axes.plot(xs, ys, label="paper", clip_on=False, **hollow(colours.text, colours))


def write_names(
    figure: "Figure",
    axes: "Axes",
    series: Mapping[str, Sequence[Point]],
    shifts: Mapping[str, float],
    colours: Ink,
) -> int:
    """Write networks' names beside their points of the first checkpoint, the best first; how many stay without.

    A network that only another series has is named there.
    """
    from matplotlib.patheffects import withStroke

    pixel = figure.dpi / 72
    solid, soft, anchors = [], [], {}
    first = {p.label for p in next(iter(series.values()))}
    named = {p.label: p for some in reversed(list(series.values())) for p in some}
    for rank, (checkpoint, found) in enumerate(series.items()):
        for p in found:
            low, high = p.y.bounds
            x, y = axes.transData.transform((p.x, p.y.value)) + (shifts[checkpoint] * pixel, 0)
            bottom, top = (float(axes.transData.transform((p.x, bound))[1]) for bound in (low, high))
            half = 5 * pixel
            solid.append(Box(x - half, y - half, x + half, y + half))
            soft.append(Box(x - 3 * pixel, bottom, x + 3 * pixel, top))
            if rank == 0 or p.label not in first:
                anchors[p.label] = (float(x), float(y))
    found = list(named.values())
    chosen = front(found) if len(found) > CROWDED else sorted(found, key=lambda p: (-p.y.value, p.x))
    halo = [withStroke(linewidth=3, foreground=colours.paper)]
    texts = [
        figure.text(
            0,
            0,
            f"{p.label}{' †' if p.flagged else ''}",
            color=colours.text,
            size=10,
            path_effects=halo,
            zorder=6,
            parse_math=False,
        )
        for p in chosen
    ]
    sizes = [text.get_window_extent() for text in texts]
    names = [Name(*anchors[p.label], size.width, size.height) for p, size in zip(chosen, sizes, strict=True)]
    box = axes.get_window_extent()
    boxes = place(names, solid, soft, Box(box.x0, box.y0, box.x1, box.y1), gap=8 * pixel)
    for text, size, spot in zip(texts, sizes, boxes, strict=True):
        if spot is None:
            text.remove()
        else:
            # Shifting by whole boxes keeps the baseline: the extent starts below (0, 0) where letters hang down.
            x, y = figure.transFigure.inverted().transform((spot.left - size.x0, spot.bottom - size.y0))
            text.set_position((float(x), float(y)))
    return len(found) - sum(spot is not None for spot in boxes)
