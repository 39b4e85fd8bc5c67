"""A genotype's cells as text, for a terminal."""

from advarch.genotype.cell import INPUTS, Cell, Genotype
from advarch.genotype.operations import OPERATIONS

MOST_CELLS = 2
"""More are not written out."""


def text(genotype: Genotype) -> str:
    """A line for each node, which says what leads to it; the cells side by side. Cell-free networks are only counted."""
    if len(genotype.cells) > MOST_CELLS:
        edges = sum(len(cell.edges) for cell in genotype.cells)
        return f"{len(genotype.cells)} cells, {edges} operations"
    titles = ["every cell"] if genotype.layout == "shared" else ["normal cell", "reduction cell"]
    columns = [[title, *_lines(cell)] for title, cell in zip(titles, genotype.cells, strict=False)]
    height = max(len(column) for column in columns)
    widths = [max(len(line) for line in column) for column in columns]
    padded = [column + [""] * (height - len(column)) for column in columns]
    rows = [
        "    ".join(line.ljust(width) for line, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*padded, strict=True)
    ]
    return "\n".join(rows)


def _lines(cell: Cell) -> list[str]:
    return [
        f"{number} ← " + "  +  ".join(f"{OPERATIONS[op].label}({_name(source)})" for op, source in edges)
        for number, edges in enumerate(cell.nodes, INPUTS)
    ]


def _name(source: int) -> str:
    return ("k−2", "k−1")[source] if source < INPUTS else str(source)
