"""Search spaces as data: which cells there are, how many, drawing one, its neighbours."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from random import Random

from advarch.errors import InputError
from advarch.genotype.cell import INPUTS, LAYOUTS, Cell, Edge, Genotype, Layout
from advarch.genotype.operations import OPERATIONS

Node = tuple[Edge, ...]


@dataclass(frozen=True)
class Space:
    """Cells of `nodes` nodes, all of them in the output; what their edges may carry, and how many cells a network has.

    Args:
        operations: candidates of an edge. `none` may be among them: a relaxed edge weighs it, a chosen cell never has it.
        nodes: of a cell, without its two inputs.
        inputs: edges that lead to a chosen node, each from another source and with one operation (2 in DARTS). None: any
            set of operations on every edge, but at least one in all (RobNet).
        layout: one cell for all places, a normal and a reduction cell, or one for each place (cell-free).
        places: cells of the network; counts for the layout `each` only.

    Raises:
        InputError: an unknown or repeated operation, or numbers that make no space.
    """

    operations: Sequence[str]
    nodes: int = 4
    inputs: int | None = 2
    layout: Layout = "normal_reduce"
    places: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        for op in self.operations:
            if op not in OPERATIONS:
                raise InputError(
                    f"operations: unknown name {op!r}; expected some of: {', '.join(OPERATIONS)}"
                )
        if len(set(self.operations)) != len(self.operations):
            raise InputError(f"operations: expected each once, came {', '.join(self.operations)}")
        if not self.choices:
            raise InputError("operations: expected at least one beside none, came none; name one")
        if self.layout not in LAYOUTS:
            raise InputError(f"layout: expected one of: {', '.join(LAYOUTS)}, came {self.layout!r}")
        if self.nodes < 1 or self.places < 1:
            raise InputError(
                f"nodes, places: expected at least 1 of each, came {self.nodes} and {self.places}"
            )
        if self.inputs is not None and not 1 <= self.inputs <= INPUTS:
            raise InputError(
                f"inputs: expected 1 to {INPUTS}, for the first node has no more to read, came {self.inputs}; "
                "null allows any set of edges"
            )

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """What an edge of a chosen cell may carry."""
        return tuple(op for op in self.operations if op != "none")

    @property
    def at_once(self) -> int:
        """How many operations an edge of a chosen cell may carry at once."""
        return len(self.choices) if self.inputs is None else 1

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(source, target) of every edge, in order of target, then of source."""
        return tuple((source, target) for target in self.targets for source in range(target))

    @cached_property
    def incoming(self) -> tuple[slice, ...]:
        """Which of `edges` lead to each node."""
        starts = [sum(range(INPUTS, target)) for target in self.targets]
        return tuple(slice(start, start + target) for start, target in zip(starts, self.targets, strict=True))

    @property
    def targets(self) -> range:
        """The numbers of the nodes."""
        return range(INPUTS, INPUTS + self.nodes)

    @property
    def kinds(self) -> int:
        """Cells of a genotype."""
        return {"shared": 1, "normal_reduce": 2, "each": self.places}[self.layout]

    def kind(self, place: int, *, reduction: bool) -> int:
        """Which of its cells stands at a place of the network, as `Genotype.cell` has it."""
        return {"shared": 0, "normal_reduce": int(reduction), "each": place}[self.layout]

    @property
    def size(self) -> int:
        """How many genotypes there are."""
        return math.prod(self._node_count(target) for target in self.targets) ** self.kinds

    def _node_count(self, target: int) -> int:
        if self.inputs is None:
            return 2 ** (target * len(self.choices)) - 1
        return math.comb(target, self.inputs) * len(self.choices) ** self.inputs

    def contains(self, genotype: Genotype) -> bool:
        """Whether a genotype is one of this space."""
        return (
            genotype.layout == self.layout
            and len(genotype.cells) == self.kinds
            and all(self._contains_cell(cell) for cell in genotype.cells)
        )

    def _contains_cell(self, cell: Cell) -> bool:
        return (
            len(cell.nodes) == self.nodes
            and set(cell.concat) == set(self.targets)
            and all(edge.op in self.choices for _, edge in cell.edges)
            and all(self._fits(node) for node in cell.nodes)
        )

    def _fits(self, node: Node) -> bool:
        if self.inputs is None:
            return len(set(node)) == len(node)
        return len(node) == len({edge.source for edge in node}) == self.inputs

    def genotype(self, cells: list[tuple[Node, ...]], name: str, source: str = "") -> Genotype:
        """A genotype of this space from the nodes of each cell."""
        made = tuple(Cell(nodes, tuple(self.targets)) for nodes in cells)
        return Genotype(name, self.layout, made, source)

    def sample(self, random: Random, name: str = "sampled", *, probability: float = 0.5) -> Genotype:
        """A genotype drawn uniformly from the space; where edges are free, each operation is there with `probability`."""
        cells = [
            tuple(self._draw(target, random, probability) for target in self.targets)
            for _ in range(self.kinds)
        ]
        return self.genotype(cells, name)

    def _draw(self, target: int, random: Random, probability: float) -> Node:
        if self.inputs is not None:
            sources = random.sample(range(target), self.inputs)
            return tuple(Edge(random.choice(self.choices), source) for source in sources)
        while True:
            node = tuple(edge for edge in self._all_edges(target) if random.random() < probability)
            if node:
                return node

    def mutate(self, genotype: Genotype, random: Random, name: str = "mutated") -> Genotype:
        """A genotype one change away: an edge's operation or source, or where edges are free, one operation more or less."""
        cells = [list(cell.nodes) for cell in genotype.cells]
        places = [
            (cell, node)
            for cell, nodes in enumerate(cells)
            for node in range(self.nodes)
            if self._neighbours(nodes[node], node + INPUTS)
        ]
        if not places:
            raise InputError("mutate: expected a space of more than one genotype, came one")
        cell, node = random.choice(places)
        cells[cell][node] = random.choice(self._neighbours(cells[cell][node], node + INPUTS))
        return self.genotype([tuple(nodes) for nodes in cells], name)

    def _neighbours(self, node: Node, target: int) -> list[Node]:
        if self.inputs is None:
            toggled = [tuple(set(node) ^ {edge}) for edge in self._all_edges(target)]
            return [nodes for nodes in toggled if nodes]
        found = []
        for place, old in enumerate(node):
            rest = node[:place] + node[place + 1 :]
            taken = {edge.source for edge in rest}
            for edge in self._all_edges(target):
                changes = (edge.op != old.op) + (edge.source != old.source)
                if changes == 1 and edge.source not in taken:
                    found.append((*rest, edge))
        return found

    def _all_edges(self, target: int) -> list[Edge]:
        return [Edge(op, source) for source in range(target) for op in self.choices]

    def enumerate(self) -> Iterator[Genotype]:
        """Every genotype of the space once, always in the same order; look at `size` first."""
        cells = list(product(*(self._nodes(target) for target in self.targets)))
        for number, chosen in enumerate(product(cells, repeat=self.kinds)):
            yield self.genotype(list(chosen), f"cell_{number}")

    def _nodes(self, target: int) -> list[Node]:
        if self.inputs is None:
            edges = self._all_edges(target)
            return [node for count in range(1, len(edges) + 1) for node in combinations(edges, count)]
        return [
            tuple(map(Edge, ops, sources))
            for sources in combinations(range(target), self.inputs)
            for ops in product(self.choices, repeat=self.inputs)
        ]


DARTS_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The eight candidates of DARTS, PC-DARTS, RACL and NADAR, in the order of the authors' code."""

ROBNET_OPERATIONS = ("none", "skip_connect", "sep_conv_3x3")
"""RobNet's three, of which an edge may carry several."""
