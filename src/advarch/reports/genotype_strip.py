"""How a search's cell changed: for every epoch, the operation that each edge of the derived cell carries."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from advarch.genotype import stored
from advarch.genotype.cell import INPUTS, Cell, Genotype
from advarch.genotype.operations import OPERATIONS
from advarch.reports import canvas
from advarch.reports.genotype_drawing import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
"""search.jsonl, one mapping per epoch."""

WIDTH, LINE, HEAD, FOOT, BETWEEN = 6.4, 0.2, 0.75, 0.8, 0.4
"""Inches: of the figure, of one edge, above, below and between the panels."""

MOST_CELLS = 2
"""Of a genotype that is drawn."""


def cells_by_epoch(rows: Rows) -> list[tuple[float, Genotype]]:
    """(epoch, derived genotype) of the epochs that have one of few enough cells."""
    found = [(float(row["epoch"]), stored.from_plain(row["genotype"])) for row in rows if row.get("genotype")]
    return [(epoch, genotype) for epoch, genotype in found if len(genotype.cells) <= MOST_CELLS]


def changes(rows: Rows) -> list[int]:
    """How many edges each epoch's cells have that those of the epoch before had not."""
    found = [_edges(genotype) for _, genotype in cells_by_epoch(rows)]
    return [len(now - before) for before, now in pairwise(found)]


def render(rows: Rows, *, dark: bool = False) -> bytes:
    """The strip as PNG bytes: a panel for each cell, a line for each edge, a square for each epoch."""
    from matplotlib.patches import Patch

    colours = canvas.ink(dark)
    found = cells_by_epoch(rows)
    last = found[-1][1]
    heights = [len(_pairs(cell)) * LINE for cell in last.cells]
    height = HEAD + sum(heights) + BETWEEN * (len(heights) - 1) + FOOT
    figure = canvas.blank(WIDTH, height, colours)
    down = HEAD
    for kind, high in enumerate(heights):
        axes = figure.add_axes((0.12, 1 - (down + high) / height, 0.85, high / height))
        _panel(axes, [(epoch, genotype.cells[kind]) for epoch, genotype in found], colours)
        title = ("normal cell", "reduction cell")[kind] if len(heights) > 1 else "every cell"
        axes.set_title(title, loc="left", size=9, color=colours.muted, pad=3)
        axes.tick_params(labelbottom=kind == len(heights) - 1)
        down += high + BETWEEN
    axes.set_xlabel("epoch", color=colours.muted, size=9, labelpad=2)
    figure.text(
        0.02,
        1 - 0.25 / height,
        "The derived cell, epoch by epoch",
        color=colours.text,
        size=12,
        weight="bold",
    )
    changed = changes(rows)
    said = f"{sum(changed)} changes, {changed[-1]} in the last epoch" if changed else "one epoch"
    figure.text(0.02, 1 - 0.45 / height, said, color=colours.muted, size=9)
    used = {op for _, genotype in found for _, _, _, op in _edges(genotype)}
    handles = [Patch(color=COLOURS[op], label=OPERATIONS[op].label) for op in OPERATIONS if op in used]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8, labelcolor=colours.text, handlelength=1.0, columnspacing=1.0)  # fmt: skip
    return canvas.png(figure)


def _panel(axes: "Axes", cells: Sequence[tuple[float, Cell]], colours: canvas.Ink) -> None:
    canvas.dress(axes, colours, size=8)
    axes.grid(False)
    pairs = _pairs(cells[0][1])
    for epoch, cell in cells:
        for line, (source, target) in enumerate(pairs):
            ops = [op for node, (op, start) in cell.edges if (start, node) == (source, target)]
            for at, op in enumerate(ops):
                axes.broken_barh(
                    [(epoch - 0.5, 1.0)],
                    (line - 0.42 + 0.84 * at / len(ops), 0.84 / len(ops)),
                    color=COLOURS[op],
                )
    axes.set_xlim(cells[0][0] - 0.5, cells[-1][0] + 0.5)
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_yticks(range(len(pairs)), [f"{_name(source)} → {target}" for source, target in pairs])
    canvas.count_on_x(axes, 10)


def _pairs(cell: Cell) -> list[tuple[int, int]]:
    """(source, target) of every edge there may be."""
    targets = range(INPUTS, INPUTS + len(cell.nodes))
    return [(source, target) for target in targets for source in range(target)]


def _edges(genotype: Genotype) -> set[tuple[int, int, int, str]]:
    """(cell, source, target, operation) of every edge."""
    return {
        (kind, source, target, op)
        for kind, cell in enumerate(genotype.cells)
        for target, (op, source) in cell.edges
    }


def _name(source: int) -> str:
    return ("k−2", "k−1")[source] if source < INPUTS else str(source)
