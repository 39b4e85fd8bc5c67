"""Cells with few skip connections: drawn at random, or searched for."""

from random import Random
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn

from advarch.errors import InputError
from advarch.genotype.cell import Cell, Genotype
from advarch.genotype.space import Space
from advarch.layers.mixed_op import Mixing
from advarch.search.darts import Darts, Order, VirtualStep
from advarch.search.derivation import strongest
from advarch.search.method import Loss, Progress, Searched
from advarch.types import Attack

SKIP = "skip_connect"


def skips(cell: Cell) -> int:
    """How many skip connections a cell has."""
    return sum(edge.op == SKIP for _, edge in cell.edges)


def few_skips(
    space: Space, *, random: Random, count: Annotated[int, Ge(1)] = 10, most: Annotated[int, Ge(0)] = 2
) -> list[Genotype]:
    """A sampler: `count` different genotypes whose cells have at most `most` skip connections each."""
    drawn: dict[str, Genotype] = {}
    for _ in range(1000 * count):
        genotype = space.sample(random, f"few_skips_{len(drawn)}")
        if all(skips(cell) <= most for cell in genotype.cells):
            drawn.setdefault(genotype.digest, genotype)
        if len(drawn) == count:
            return list(drawn.values())
    raise InputError(f"count: expected at most {len(drawn)}, those that were met, came {count}; lower it")


class FewSkips(Darts):
    """DARTS whose cells keep at most `most` skip connections each, after P-DARTS (Chen et al. 2019)."""

    def __init__(
        self,
        supernet: Searched,
        *,
        defense: Loss,
        attack: Attack,
        model: nn.Module | None = None,
        order: Order = "first",
        virtual_step: VirtualStep = "gradient",
        warmup: Annotated[float, Ge(0)] = 0,
        most: Annotated[int, Ge(0)] = 2,
    ) -> None:
        super().__init__(
            supernet, defense=defense, attack=attack, model=model,
            order=order, virtual_step=virtual_step, warmup=warmup,
        )  # fmt: skip
        self.most = most

    @torch.no_grad()
    def derive(self, progress: Progress, name: str = "found") -> Genotype:
        """The strongest cells; while one has too many skip connections, its weakest gets weight 0 and the edge chooses anew."""
        space, mixing = self.supernet.space, self.supernet.arch()
        weights = mixing.operations.clone()
        while True:
            found = strongest(space, Mixing(weights, mixing.inputs), name=name)
            over = [kind for kind, cell in enumerate(found.cells) if skips(cell) > self.most]
            if not over or space.choices == (SKIP,):
                return found
            column = space.operations.index(SKIP)
            for kind in over:
                edges = [space.edges.index((e.source, t)) for t, e in found.cells[kind].edges if e.op == SKIP]
                weights[kind, min(edges, key=weights[kind, :, column].__getitem__), column] = 0
