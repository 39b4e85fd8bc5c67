"""Cells as one line: `sep3 0, skip 1 | dil3 2` is two nodes, a bar between them; a slash stands between cells.

`sep3 0` is a 3x3 separable convolution of node 0. The numbers are those of the authors' genotype files: 0 and 1 are the
cell's inputs, the first own node is 2. One cell is shared by all places, two are a normal and a reduction cell, more are one
for each place. Every node is in the output.
"""

import re

from advarch.errors import InputError
from advarch.genotype.cell import INPUTS, Cell, Edge, Genotype, Layout

WORDS = {
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "sep7": "sep_conv_7x7",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
    "max3": "max_pool_3x3",
    "avg3": "avg_pool_3x3",
    "skip": "skip_connect",
    "conv7": "conv_7x1_1x7",
}

_SHORT = {op: word for word, op in WORDS.items()}


def is_line(text: str) -> bool:
    """Whether it begins as a cell on one line does."""
    return re.match(r"\s*[a-z]+\d?\s+\d", text) is not None


def cell_of_line(text: str, concat: tuple[int, ...] | None = None) -> Cell:
    """The cell of a text; `concat` None puts every node into the output.

    Raises:
        InputError: an edge that is none, or a cell that can't be.
    """
    nodes = [[_edge(edge) for edge in node.split(",")] for node in text.split("|")]
    return Cell(tuple(map(tuple, nodes)), concat or tuple(range(INPUTS, INPUTS + len(nodes))))


def _edge(text: str) -> Edge:
    op, _, source = text.strip().partition(" ")
    if op not in WORDS or not source.strip().isdecimal():
        raise InputError(
            f"genotype: expected edges like 'sep3 0' of {', '.join(WORDS)}, came {text.strip()!r}"
        )
    return Edge(WORDS[op], int(source))


def from_line(text: str, name: str) -> Genotype:
    """The genotype of a text. Raises InputError for one that can't be."""
    cells = tuple(map(cell_of_line, text.split("/")))
    layouts: dict[int, Layout] = {1: "shared", 2: "normal_reduce"}
    return Genotype(name, layouts.get(len(cells), "each"), cells)


def to_line(genotype: Genotype) -> str:
    """The genotype as one line, which `from_line` reads.

    Raises:
        InputError: nodes outside the output, or a cell for each of one or two places.
    """
    text = " / ".join(
        " | ".join(", ".join(f"{_SHORT.get(op, op)} {source}" for op, source in node) for node in cell.nodes)
        for cell in genotype.cells
    )
    again = from_line(text, genotype.name)
    if (again.layout, again.cells) != (genotype.layout, genotype.cells):
        raise InputError(
            f"genotype: expected all nodes of {genotype.name} in the output and one, two or a row of cells; write it as JSON"
        )
    return text
