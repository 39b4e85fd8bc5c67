"""RobNet's text codes: 14 edges of two bits, the first for an identity, the second for a separable convolution.

RobNet (Guo et al. 2020, section 3.2) puts zero, one or both operations on each edge of a cell of four nodes. The edges come in
order of their target, then of their source: 0-2 1-2, 0-3 1-3 2-3, ... A code is written with a bar between nodes, a line for
each cell.
"""

import re

from advarch.errors import InputError
from advarch.genotype.cell import INPUTS, Cell, Edge, Genotype

NODES = 4

PAIRS = tuple((source, target) for target in range(INPUTS, INPUTS + NODES) for source in range(target))
"""(source, target) of the 14 entries."""

_BITS = ("skip_connect", "sep_conv_3x3")


def decode_cell(bits: str) -> Cell:
    """The cell of 28 bits.

    Raises:
        InputError: another number of bits, or a node all of whose entries are 00.
    """
    if len(bits) != 2 * len(PAIRS) or set(bits) - {"0", "1"}:
        raise InputError(
            f"code: expected {len(PAIRS)} entries of two bits for a cell, came {len(bits) / 2:g}: {bits!r}"
        )
    nodes: list[list[Edge]] = [[] for _ in range(NODES)]
    for entry, (source, target) in enumerate(PAIRS):
        for bit, op in enumerate(_BITS):
            if bits[2 * entry + bit] == "1":
                nodes[target - INPUTS].append(Edge(op, source))
    return Cell(tuple(map(tuple, nodes)), tuple(range(INPUTS, INPUTS + NODES)))


def encode_cell(cell: Cell) -> str:
    """The cell as text, `11 11 | 11 11 11 | ...`.

    Raises:
        InputError: a cell outside RobNet's space.
    """
    if cell.concat != tuple(range(INPUTS, INPUTS + NODES)):
        raise InputError(f"code: expected a cell of four nodes, all in concat, came concat {cell.concat}")
    present = {(edge.source, target, edge.op) for target, edge in cell.edges}
    if len(present) != len(cell.edges) or any(op not in _BITS for _, _, op in present):
        raise InputError(
            f"code: expected at most one each of {' and '.join(_BITS)} between two nodes, came another cell; "
            "write it as JSON"
        )
    groups = [
        " ".join("".join("01"[(source, target, op) in present] for op in _BITS) for source in range(target))
        for target in range(INPUTS, INPUTS + NODES)
    ]
    return " | ".join(groups)


def decode(text: str, name: str, source: str = "") -> Genotype:
    """The genotype of a code: one cell is shared by all places, several are one for each place.

    Bits may be separated by blanks, bars, commas, quotes and brackets, so lists of strings are read as well.

    Raises:
        InputError: other characters, or bits that make no whole cells.
    """
    bits = re.sub(r"[\s|,;'\"\[\]()]+", "", text)
    strange = sorted(set(bits) - {"0", "1"})
    if strange or not bits:
        raise InputError(
            f"code: expected bits, blanks and bars, came {''.join(strange[:10])!r}; an example: "
            "'11 11 | 11 11 11 | 01 11 01 10 | 11 01 01 01 11'"
        )
    width = 2 * len(PAIRS)
    if len(bits) % width:
        raise InputError(
            f"code: expected {len(PAIRS)} entries of two bits for each cell, came {len(bits)} bits in all"
        )
    cells = tuple(decode_cell(bits[at : at + width]) for at in range(0, len(bits), width))
    return Genotype(name, "shared" if len(cells) == 1 else "each", cells, source)


def encode(genotype: Genotype) -> str:
    """The genotype as text, a line for each cell. Raises InputError for one outside RobNet's space."""
    if genotype.layout == "normal_reduce":
        raise InputError(
            "code: expected a shared cell or one for each place, came a normal and a reduction cell"
        )
    return "".join(encode_cell(cell) + "\n" for cell in genotype.cells)
