"""A cell and the cells of a network, as frozen data that is checked when it is made."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from advarch.errors import InputError
from advarch.genotype.operations import OPERATIONS

INPUTS = 2
"""A cell reads the outputs of the two cells before it: input 0 is the older, 1 the newer. Its first own node is number 2."""

Layout = Literal["shared", "normal_reduce", "each"]
"""One cell for all, a normal and a reduction cell, or a cell for each place in the network."""

LAYOUTS: tuple[Layout, ...] = ("shared", "normal_reduce", "each")


class Edge(NamedTuple):
    """An operation on one of a node's predecessors. Two edges may have the same source: their results are added."""

    op: str
    source: int


@dataclass(frozen=True)
class Cell:
    """Node i + 2 is the sum of its edges `nodes[i]`; the output is the concatenation of the nodes in `concat`.

    The edges of a node are kept in order of source and operation, so equal cells compare equal however they were written.

    Raises:
        InputError: an unknown operation, an edge from the node itself or a later one, a node without input or without use.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        ordered = tuple(
            tuple(sorted((Edge(*edge) for edge in edges), key=lambda edge: (edge.source, edge.op)))
            for edges in self.nodes
        )
        object.__setattr__(self, "nodes", ordered)
        object.__setattr__(self, "concat", tuple(self.concat))
        for number, edges in enumerate(ordered, INPUTS):
            _check_node(number, edges)
        self._check_concat()

    def _check_concat(self) -> None:
        last = INPUTS + len(self.nodes) - 1
        if not self.concat:
            raise InputError("concat: expected at least one node to make the output of, came none")
        for number in self.concat:
            if not INPUTS <= number <= last:
                raise InputError(
                    f"concat: expected nodes from {INPUTS} to {last}, came {number}, which is missing; "
                    "give the node or take it out of concat"
                )
        if len(set(self.concat)) != len(self.concat):
            raise InputError(f"concat: expected each node once, came {list(self.concat)}")
        read = {edge.source for edges in self.nodes for edge in edges} | set(self.concat)
        for number in range(INPUTS, last + 1):
            if number not in read:
                raise InputError(
                    f"node {number}: expected a later node or concat to read it, came neither; "
                    "put it into concat or leave it out"
                )

    @property
    def edges(self) -> tuple[tuple[int, Edge], ...]:
        """Every edge with the number of the node it leads to."""
        return tuple((number, edge) for number, edges in enumerate(self.nodes, INPUTS) for edge in edges)


def _check_node(number: int, edges: tuple[Edge, ...]) -> None:
    for op, source in edges:
        if op not in OPERATIONS:
            raise InputError(
                f"node {number}: unknown operation {op!r}; expected one of: {', '.join(OPERATIONS)}"
            )
        if isinstance(source, bool) or not isinstance(source, int) or source < 0:
            raise InputError(
                f"node {number}: expected edges from 0 to {number - 1}, came one from {source!r}; "
                "0 and 1 are the cell's inputs"
            )
        if source >= number:
            raise InputError(
                f"node {number}: expected edges from nodes before it, came one from node {source}; "
                f"a node may read 0 to {number - 1}"
            )
    if all(op == "none" for op, _ in edges):
        raise InputError(f"node {number}: expected at least one input, came none; give it an operation")


@dataclass(frozen=True)
class Genotype:
    """The cells of a network and how they are laid out.

    Args:
        name: letters, digits, `_`, `-` and `.`: what its files are called.
        layout: `shared` (one cell, reductions too), `normal_reduce` (two), `each` (one for every place).
        cells: one, two, or as many as the network has.
        source: where it was published or what run found it.

    Raises:
        InputError: a name or number of cells that does not fit.
    """

    name: str
    layout: Layout
    cells: tuple[Cell, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            raise InputError(f"name: expected letters, digits, '_', '-' and '.', came {self.name!r}")
        if self.layout not in LAYOUTS:
            raise InputError(f"layout: expected one of: {', '.join(LAYOUTS)}, came {self.layout!r}")
        wanted = {"shared": 1, "normal_reduce": 2}.get(self.layout, max(1, len(self.cells)))
        if len(self.cells) != wanted:
            raise InputError(
                f"cells: expected {wanted} for layout {self.layout}, came {len(self.cells)}; "
                "layout each takes any number of them"
            )

    def cell(self, place: int, *, reduction: bool) -> Cell:
        """The cell at a place in the network, counted from 0."""
        if self.layout == "each":
            return self.cells[place]
        return self.cells[-1] if reduction else self.cells[0]

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits of the architecture alone; name and source do not count."""
        text = json.dumps([self.layout, [[cell.nodes, cell.concat] for cell in self.cells]])
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def check_places(genotype: Genotype, cells: int) -> None:
    """Raises InputError when a genotype with a cell for each place is to fill another number of places."""
    if genotype.layout == "each" and len(genotype.cells) != cells:
        raise InputError(
            f"cells: expected {len(genotype.cells)}, for {genotype.name} has a cell for each place, came {cells}"
        )
