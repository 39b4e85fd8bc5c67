"""The drawing of a genotype: nodes in a row, an arc for each operation.

Convolutions pass above the row, what has no convolution below it; an arc is as high as it is long, so the depth of a cell and
its short cuts are seen at once. Nodes whose maps make the output are filled.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advarch.genotype.cell import INPUTS, Cell, Genotype
from advarch.genotype.measures import convolutions
from advarch.genotype.operations import OPERATIONS
from advarch.reports import canvas
from advarch.reports.canvas import Ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIFT = 0.43
"""Height of an arc over its length; a step of it is the room a label has."""

HEAD, FOOT, MARGIN = 1.15, 0.45, 0.35
"""Inches above, below and beside the panels."""

SMALL = 0.42
"""Inches between two nodes of a small panel; nodes of larger ones have their number written in them."""

MOST_LABELS = 12
"""A cell of more edges has a legend instead of labels."""

COLOURS = {
    "sep_conv_3x3": "#2b7bba",
    "sep_conv_5x5": "#0f4d92",
    "sep_conv_7x7": "#3d2c8d",
    "dil_conv_3x3": "#17935c",
    "dil_conv_5x5": "#0a6b50",
    "conv_7x1_1x7": "#a0337f",
    "max_pool_3x3": "#d1600a",
    "avg_pool_3x3": "#b8860b",
    "skip_connect": "#7b8794",
    "none": "#c3c9d2",
}


@dataclass(frozen=True)
class Arc:
    """An edge in units of the distance of two nodes; `height` is negative below the row."""

    op: str
    start: int
    end: int
    height: float


@dataclass(frozen=True)
class Panel:
    """Where a cell is drawn, in inches from the upper left corner of the figure, and what it has of the row's two sides.

    `unit` is the distance of two nodes in inches, `above` and `below` are in units.
    """

    cell: Cell
    title: str
    x: float
    y: float
    unit: float
    units_wide: float
    above: float
    below: float

    @property
    def big(self) -> bool:
        return self.unit > SMALL


def arcs(cell: Cell) -> Iterator[Arc]:
    """The edges of a cell. Edges between the same nodes on the same side lie one above the other."""
    taken: Counter[tuple[int, int, bool]] = Counter()
    for end, (op, start) in cell.edges:
        up = OPERATIONS[op].convolves
        height = LIFT * (end - start) + 0.8 * LIFT * taken[start, end, up]
        taken[start, end, up] += 1
        yield Arc(op, start, end, height if up else -height)


def render(genotype: Genotype, *, form: str = "png", title: str = "") -> bytes:
    """The drawing as PNG or SVG bytes; equal genotypes give equal bytes.

    Args:
        genotype: what to draw; one or two cells large, more as small pictures.
        form: `png` or `svg`.
        title: what stands above; empty: the genotype's name.
    """
    colours = canvas.LIGHT
    panels = _panels(genotype)
    labelled = panels[0].big and max(len(panel.cell.edges) for panel in panels) <= MOST_LABELS
    width = max(panel.x + panel.units_wide * panel.unit for panel in panels) + MARGIN
    height = max(panel.y + (panel.above + panel.below) * panel.unit for panel in panels)
    height += FOOT if labelled else FOOT + 0.35
    figure = canvas.blank(width, height, colours)
    _words(figure, genotype, title or genotype.name, colours)
    for panel in panels:
        _draw(figure, panel, labelled, colours)
    if not labelled:
        _legend(figure, genotype, colours)
    return canvas.svg(figure) if form == "svg" else canvas.png(figure)


def _panels(genotype: Genotype) -> list[Panel]:
    """One or two large panels one below the other, each as high as its arcs; many small ones of one size in columns."""
    alone = len(genotype.cells) <= 2
    unit, columns = (1.12, 1) if alone else (SMALL, 4)
    sides = [_sides(cell) for cell in genotype.cells]
    if not alone:
        sides = [(max(above for above, _ in sides), max(below for _, below in sides))] * len(sides)
    units_wide = INPUTS + max(len(cell.nodes) for cell in genotype.cells) + 1.0
    panels: list[Panel] = []
    y = HEAD
    for place, (cell, (above, below)) in enumerate(zip(genotype.cells, sides, strict=True)):
        row, column = divmod(place, columns)
        if column == 0 and row > 0:
            y += (panels[-1].above + panels[-1].below) * unit + (0.45 if alone else 0.2)
        x = MARGIN + column * (units_wide * unit + 0.2)
        panels.append(Panel(cell, _title(genotype, place), x, y, unit, units_wide, above, below))
    return panels


def _sides(cell: Cell) -> tuple[float, float]:
    """Units that a cell takes above and below its row: its arcs, a label, and the title above."""
    heights = [arc.height for arc in arcs(cell)]
    return max(0.0, *heights) + 0.75, 0.45 - min(0.0, *heights)


def _title(genotype: Genotype, place: int) -> str:
    if genotype.layout == "each":
        cell = genotype.cells[place]
        return f"{place}: {convolutions(cell)} of {len(cell.edges)}"
    if genotype.layout == "shared":
        return "every cell"
    return ("normal cell", "reduction cell")[place]


def _draw(figure: "Figure", panel: Panel, labelled: bool, colours: Ink) -> None:
    width, height = figure.get_size_inches()
    wide, high = panel.units_wide * panel.unit, (panel.above + panel.below) * panel.unit
    axes = figure.add_axes((panel.x / width, 1 - (panel.y + high) / height, wide / width, high / height))
    axes.set_xlim(-0.35, panel.units_wide - 0.35)
    axes.set_ylim(-panel.below, panel.above)
    axes.set_axis_off()
    size = 11 if panel.big else 9
    axes.text(
        -0.3, panel.above, panel.title, color=colours.text, size=size, weight="bold", va="top", parse_math=False
    )  # fmt: skip
    for arc in arcs(panel.cell):
        _arc(axes, arc, panel, labelled, colours)
    out = INPUTS + len(panel.cell.nodes)
    start = min(panel.cell.concat)
    axes.plot(
        [start, out], [0, 0], color=colours.muted, linewidth=6 if panel.big else 3, alpha=0.22, zorder=1
    )
    for number in range(out + 1):
        _node(axes, number, panel, colours)


def _arc(axes: "Axes", arc: Arc, panel: Panel, labelled: bool, colours: Ink) -> None:
    from matplotlib.patches import Arc as Curve

    middle, up = (arc.start + arc.end) / 2, arc.height > 0
    colour = COLOURS[arc.op]
    thick = (2.4 if panel.big else 1.3) * (1.25 if OPERATIONS[arc.op].convolves else 0.9)
    first, last = (0, 180) if up else (180, 360)
    axes.add_patch(
        Curve((middle, 0), arc.end - arc.start, 2 * abs(arc.height), theta1=first, theta2=last, color=colour, lw=thick, zorder=2)
    )  # fmt: skip
    if labelled:
        axes.text(
            middle, arc.height + (0.05 if up else -0.05), OPERATIONS[arc.op].label, color=colour, size=9.5, zorder=3,
            ha="center", va="bottom" if up else "top", bbox={"facecolor": colours.paper, "edgecolor": "none", "pad": 0.4, "alpha": 0.85},
        )  # fmt: skip


def _node(axes: "Axes", number: int, panel: Panel, colours: Ink) -> None:
    out = INPUTS + len(panel.cell.nodes)
    inner, filled = INPUTS <= number < out, number in panel.cell.concat
    axes.plot(
        [number], [0], "o" if inner else "s", markersize=21 if panel.big else 7.5, zorder=4,
        markerfacecolor=colours.text if filled else colours.paper,
        markeredgecolor=colours.text if inner else colours.muted, markeredgewidth=1.6 if panel.big else 1.0,
    )  # fmt: skip
    if panel.big:
        word = str(number) if inner else ("k−2", "k−1")[number] if number < INPUTS else "out"
        axes.text(
            number, -0.005, word, ha="center", va="center_baseline", zorder=5, size=10.5 if inner else 8.5,
            color=colours.paper if filled else colours.text,
        )  # fmt: skip


def _words(figure: "Figure", genotype: Genotype, title: str, colours: Ink) -> None:
    """Title, source and what is counted above, how to read it below."""
    width, height = figure.get_size_inches()
    edges = sum(len(cell.edges) for cell in genotype.cells)
    counted = sum(convolutions(cell) for cell in genotype.cells)
    summary = f"{counted} convolutions on {edges} edges  ·  {genotype.digest}"
    reading = "above the row: convolutions  ·  below: the rest  ·  filled nodes make the output"
    if genotype.layout == "each":
        reading = "place: convolutions of edges  ·  " + reading
    lines = [
        (0.42, title, 15, colours.text),
        (0.66, genotype.source, 9, colours.muted),
        (0.86, summary, 9, colours.muted),
    ]
    for down, words, size, colour in [*lines, (height - 0.15, reading, 8.5, colours.muted)]:
        figure.text(
            MARGIN / width, 1 - down / height, words, color=colour, size=size, parse_math=False,
            weight="bold" if size > 10 else "normal",
        )  # fmt: skip


def _legend(figure: "Figure", genotype: Genotype, colours: Ink) -> None:
    from matplotlib.lines import Line2D

    used = {edge.op for cell in genotype.cells for _, edge in cell.edges}
    handles = [
        Line2D([], [], color=COLOURS[op], linewidth=3, label=OPERATIONS[op].label)
        for op in OPERATIONS
        if op in used
    ]
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.3 / figure.get_size_inches()[1]), ncols=len(handles),
        frameon=False, fontsize=10, labelcolor=colours.text,
    )  # fmt: skip
