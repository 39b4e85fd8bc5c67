"""Which cells of a space are tried, and how each is trained and ranked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Len

from advarch.errors import InputError
from advarch.genotype.budget import Budget, DirectOf, draw
from advarch.genotype.cell import Genotype
from advarch.genotype.space import Space
from advarch.types import Attack

RankBy = Literal["robust", "clean"]

Sampler = Callable[..., list[Genotype]]
"""(space, random=) -> the genotypes to try, each once, with names of their own."""

MOST = 200
"""Cells that are trained one by one without being asked twice."""


@dataclass(frozen=True)
class Candidates:
    """How cells are drawn, trained and ranked.

    Args:
        sampler: which cells of the space.
        attack: ranks them, on validation images.
        epochs: that each is trained for; None: as long as the network in the end; 0: not at all, the weights that it
            inherits are judged.
        lr: learning rate of that training; None: the optimizer's.
        backbone: keys of the backbone that differ for candidates, as `cells` and `channels`; None: the network in the end.
        gate: which of the drawn cells are trained at all, by the supernet's weights; None: each. See `one_shot.by_flow`.
        inherit: start from the supernet's weights, in a network of its shape.
        bn_reestimation: batch statistics of inherited weights are taken anew, over the training images.
        rank_by: accuracy under the attack, or without; the other one decides between equals, then the order drawn.
        workers: candidates trained at a time; None: one per GPU, without a GPU one per core, at most eight.
        judge_inherited: also attack each with the weights it inherits, before it is trained (RobNet, Fig. 3a).
        flow: also measure how far an attack moves the flow through every cell, where none is trained: see `one_shot.flow`.
    """

    sampler: Sampler
    attack: Attack
    epochs: Annotated[int, Ge(0)] | None = None
    lr: Annotated[float, Gt(0)] | None = None
    backbone: dict[str, Any] | None = None
    gate: Callable[..., list[Genotype]] | None = None
    inherit: bool = False
    bn_reestimation: bool = False
    rank_by: RankBy = "robust"
    workers: Annotated[int, Ge(1)] | None = None
    judge_inherited: bool | None = None
    flow: Callable[..., list[float]] | None = None


def uniform(space: Space, *, random: Random, count: Annotated[int, Ge(1)] = 10) -> list[Genotype]:
    """So many different cells, each as likely as any other: random search.

    Raises:
        InputError: a space of fewer.
    """
    if count > space.size:
        raise InputError(
            f"count: expected at most {space.size}, the cells of this space, came {count}; lower it, or search=oracle"
        )
    drawn: dict[str, Genotype] = {}
    while len(drawn) < count:
        genotype = space.sample(random, f"random_{len(drawn)}")
        drawn.setdefault(genotype.digest, genotype)
    return list(drawn.values())


def every(space: Space, *, random: Random, limit: Annotated[int, Ge(1)] = MOST) -> list[Genotype]:
    """Every cell of a small space, in the order of `Space.enumerate`: the oracle.

    Raises:
        InputError: a space of more than `limit`.
    """
    del random
    if space.size > limit:
        raise InputError(
            f"limit: expected a space of at most {limit} cells to train each, came one of {space.size:,}; take fewer "
            "operations or nodes, or search=random"
        )
    return list(space.enumerate())


def within_budget(
    space: Space,
    *,
    random: Random,
    count: Annotated[int, Ge(1)] = 50,
    convolutions: Annotated[Sequence[int], Len(2, 2)] | None = None,
    density: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    direct: Annotated[float, Interval(ge=0, lt=1)] | None = None,
    direct_of: DirectOf = "edges",
) -> list[Genotype]:
    """So many different networks of cells within a budget, each as likely as any other (RobNet, section 3.4 and appendix F).

    The bounds are those of `genotype.budget.Budget`.

    Raises:
        InputError: fewer of them were met.
    """
    budget = Budget(convolutions, density, direct, direct_of)
    drawn: dict[str, Genotype] = {}
    for _ in range(100 * count):
        genotype = draw(space, budget, random, f"within_{len(drawn)}")
        drawn.setdefault(genotype.digest, genotype)
        if len(drawn) == count:
            return list(drawn.values())
    raise InputError(
        f"count: expected at most {len(drawn)}, the networks met within the budget, came {count}; lower it, or loosen the budget"
    )
