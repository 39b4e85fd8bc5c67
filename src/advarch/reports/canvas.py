"""Paper and ink of the figures: colours for a light and a dark page, an empty figure, and its PNG bytes.

Matplotlib is imported inside the functions (a table must not pay for it), and pyplot, with its global state, never.
"""

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DPI = 160


@dataclass(frozen=True)
class Ink:
    """Colours of one scheme. `strong` and `other` differ in hue and lightness, so colour blindness and grey keep them apart."""

    paper: str
    text: str
    muted: str
    grid: str
    strong: str
    other: str


LIGHT = Ink("#ffffff", "#1d2430", "#667085", "#e7eaef", "#0b5fa5", "#d1730a")
DARK = Ink("#171b22", "#e8ebf0", "#98a2b3", "#2a313c", "#6cb6f5", "#f0a150")


def ink(dark: bool) -> Ink:
    """The colours of a scheme."""
    return DARK if dark else LIGHT


def blank(width: float, height: float, colours: Ink) -> "Figure":
    """An empty figure of that size in inches, with an Agg canvas of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=colours.paper)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: "Axes", colours: Ink, *, size: float = 10) -> None:
    """A light grid behind the data, no box, quiet ticks."""
    axes.set_facecolor(colours.paper)
    axes.set_axisbelow(True)
    axes.grid(True, color=colours.grid, linewidth=0.8)
    axes.tick_params(colors=colours.muted, labelsize=size, length=0, pad=6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colours.muted)
    axes.spines["bottom"].set_linewidth(0.8)


def name_ends(axes: "Axes", ends: Iterable[tuple[float, float, str, str]]) -> None:
    """Names at the right ends of lines, moved up where they would touch.

    Args:
        axes: whose limits are final.
        ends: y, x, name and colour of each line.
    """
    bottom, top = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    low, height = -math.inf, 0.15 / inches * (top - bottom)
    for y, x, name, colour in sorted(ends):
        low = max(y, low + height)
        axes.annotate(
            name,
            (x, low),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            size=9,
            annotation_clip=False,
        )


def hollow(colour: str, colours: Ink) -> dict[str, Any]:
    """The look of a number that the paper prints: a square that is not filled."""
    style = {"marker": "s", "markersize": 6.5, "markerfacecolor": colours.paper, "markeredgewidth": 1.5}
    return {**style, "markeredgecolor": colour, "linestyle": "none", "zorder": 5}


def ours_and_paper(figure: "Figure", y: float, colours: Ink, *, marker: str = "o") -> None:
    """The legend `ours` and `paper` at the right edge; `marker` of ours, none where there is nothing of ours yet."""
    from matplotlib.lines import Line2D

    full: dict[str, Any] = {"marker": marker, "markersize": 7, "color": colours.strong, "linestyle": "none"}
    marks = [(full, "ours")] if marker else []
    marks += [(hollow(colours.text, colours), "paper")]
    handles = [Line2D([], [], label=word, **style) for style, word in marks]
    legend = figure.legend(
        handles=handles, loc="center right", bbox_to_anchor=(0.985, y), ncols=2, frameon=False,
        handletextpad=0.2, columnspacing=1.2, borderpad=0, borderaxespad=0,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set(color=colours.text, size=10)


def fit(text: "Text", right: float) -> "Text":
    """A line made smaller and then cut until it ends before that share of the figure's width."""
    figure, size, words = text.get_figure(root=True), float(text.get_fontsize()), text.get_text()
    assert figure is not None
    limit = right * figure.bbox.width
    while text.get_window_extent().x1 > limit and size > 8:
        size -= 0.5
        text.set_fontsize(size)
    while text.get_window_extent().x1 > limit and len(words) > 2:
        words = words[:-2]
        text.set_text(words.rstrip() + "…")
    return text


def within_percent(axes: "Axes") -> None:
    """No accuracy lies below 0 or above 100 %, so its axis does not go there either."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 100.0))


def count_on_x(axes: "Axes", most: int) -> None:
    """Ticks at whole numbers alone, `most` steps between them: there is no epoch, and no module, 0.95."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def say_nothing_yet(axes: "Axes", colours: Ink) -> None:
    """The words of a figure whose runs are all still missing."""
    axes.text(
        0.5, 0.5, "nothing is evaluated yet", transform=axes.transAxes, ha="center", color=colours.muted, size=13
    )  # fmt: skip


def digits(value: float) -> str:
    """A measured value as a figure's words say it: three digits or whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def png(figure: "Figure") -> bytes:
    """The figure as PNG, without the writer's version, so equal input gives equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return file.getvalue()


def svg(figure: "Figure") -> bytes:
    """The figure as SVG with its words as text, without date and writer, so equal input gives equal bytes."""
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "advarch"}):
        figure.savefig(
            file,
            format="svg",
            facecolor=figure.get_facecolor(),
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return file.getvalue()
