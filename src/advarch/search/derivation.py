"""From weighed edges to a discrete cell (DARTS, section 2.4; PC-DARTS; RACL, section 3.2)."""

import torch
from torch import Tensor

from advarch.errors import InputError
from advarch.genotype.cell import Edge, Genotype
from advarch.genotype.space import Space
from advarch.layers.mixed_op import Mixing


@torch.no_grad()
def strongest(space: Space, mixing: Mixing, *, name: str, source: str = "") -> Genotype:
    """Every node keeps its `space.inputs` strongest edges, every edge its strongest operation other than zero.

    The strength of an operation is its weight, times its edge's where edges are weighed; that of an edge is that of its
    strongest operation. Of two alike the first is kept.

    Raises:
        InputError: a space whose nodes have no fixed number of inputs.
    """
    if space.inputs is None:
        raise InputError("inputs: expected a number of inputs of each node to derive a cell, came null")
    assert isinstance(mixing.operations, Tensor)
    strengths = mixing.operations if mixing.inputs is None else mixing.operations * mixing.inputs[..., None]
    allowed = [number for number, op in enumerate(space.operations) if op != "none"]
    best, which = strengths[..., allowed].max(-1)
    cells = []
    for kind in range(space.kinds):
        nodes = []
        for part in space.incoming:
            order = sorted(range(part.start, part.stop), key=lambda edge: -float(best[kind, edge]))
            kept = order[: space.inputs]
            ops = [space.operations[allowed[int(which[kind, edge])]] for edge in kept]
            nodes.append(tuple(Edge(op, space.edges[edge][0]) for op, edge in zip(ops, kept, strict=True)))
        cells.append(tuple(nodes))
    return space.genotype(cells, name, source)
