"""Search spaces: sizes in closed form and by enumeration, uniform draws, neighbours, what belongs to them."""

import math
from collections import Counter
from random import Random

import pytest

from advarch.errors import InputError
from advarch.genotype.cell import Cell, Edge, Genotype
from advarch.genotype.published import PUBLISHED, published
from advarch.genotype.robnet_code import PAIRS
from advarch.genotype.space import DARTS_OPERATIONS, ROBNET_OPERATIONS, Space

DARTS = Space(DARTS_OPERATIONS)
ROBNET = Space(ROBNET_OPERATIONS, inputs=None, layout="shared")
TWO = ("none", "skip_connect", "sep_conv_3x3")
SMALL = {
    "one input": Space(TWO, nodes=2, inputs=1, layout="shared"),
    "two inputs": Space(TWO, nodes=2, inputs=2, layout="shared"),
    "free": Space(("skip_connect",), nodes=2, inputs=None, layout="shared"),
    "two cells": Space(TWO, nodes=1, inputs=1),
    "cell-free": Space(("skip_connect",), nodes=1, inputs=None, layout="each", places=3),
}
every_small = pytest.mark.parametrize("name", SMALL)


def key(genotype: Genotype) -> str:
    return genotype.digest


def test_sizes_in_closed_form() -> None:
    # DARTS, section 3.1: prod (k + 1) k / 2 * 7^2 over k = 1 .. 4, for each of the two cells.
    assert math.prod((k + 1) * k // 2 * 7**2 for k in range(1, 5)) ** 2 == DARTS.size
    # RobNet prints (2^2)^14 - 1, which counts cells with a node that nothing leads to.
    assert math.prod(4**j - 1 for j in range(2, 6)) == ROBNET.size < 4**14 - 1
    assert Space(ROBNET_OPERATIONS, inputs=None, layout="each", places=20).size == ROBNET.size**20


def test_edges_come_by_target_then_source_and_in_slices_for_each_node() -> None:
    assert DARTS.edges == PAIRS
    assert [DARTS.edges[part] for part in DARTS.incoming] == [
        tuple(edge for edge in PAIRS if edge[1] == target) for target in range(2, 6)
    ]
    assert "none" not in DARTS.choices and len(DARTS.choices) == 7


@every_small
def test_enumeration_has_every_genotype_once_and_nothing_else(name: str) -> None:
    space = SMALL[name]
    found = list(space.enumerate())
    assert len({key(genotype) for genotype in found}) == len(found) == space.size
    assert all(space.contains(genotype) for genotype in found)
    assert [key(genotype) for genotype in space.enumerate()] == [key(genotype) for genotype in found]


@every_small
def test_draws_are_uniform_and_mutations_reach_everything_by_single_changes(name: str) -> None:
    space, random = SMALL[name], Random(0)
    draws = 30 * space.size
    counts = Counter(key(space.sample(random)) for _ in range(draws))
    assert len(counts) == space.size
    # Chi-square of size - 1 degrees of freedom, within five of its standard deviations.
    freedom = space.size - 1
    assert sum((count - 30) ** 2 / 30 for count in counts.values()) < freedom + 5 * math.sqrt(2 * freedom)
    genotype, reached = space.sample(random), set()
    for _ in range(25 * space.size):
        after = space.mutate(genotype, random)
        assert space.contains(after)
        changed = [
            set(new) ^ set(old)
            for one, two in zip(after.cells, genotype.cells, strict=True)
            for new, old in zip(one.nodes, two.nodes, strict=True)
            if new != old
        ]
        assert len(changed) == 1 and len(changed[0]) == (1 if space.inputs is None else 2)
        genotype = after
        reached.add(key(genotype))
    assert len(reached) == space.size


def test_the_published_cells_lie_in_their_spaces() -> None:
    darts = [name for name in PUBLISHED if not name.startswith("robnet")]
    seven = [
        name for name in darts if name not in ("nasnet_a", "amoebanet_a", "nadar_a_like", "nadar_b_like")
    ]
    assert [name for name in darts if DARTS.contains(published(name))] == seven
    assert ROBNET.contains(published("robnet_large")) and ROBNET.contains(published("robnet_full"))
    free = Space(ROBNET_OPERATIONS, inputs=None, layout="each", places=20)
    assert free.contains(published("robnet_free")) and not ROBNET.contains(published("robnet_free"))
    assert not DARTS.contains(published("robnet_large"))


@pytest.mark.parametrize(
    "nodes",
    [
        ((Edge("sep_conv_3x3", 0), Edge("skip_connect", 0)),),
        ((Edge("sep_conv_3x3", 0),),),
        ((Edge("max_pool_3x3", 0), Edge("skip_connect", 1)),),
        ((Edge("sep_conv_3x3", 0), Edge("none", 1)),),
    ],
)
def test_cells_outside_a_space_are_told_apart(nodes) -> None:
    space = Space(TWO, nodes=1, layout="shared")
    assert not space.contains(Genotype("g", "shared", (Cell(nodes, (2,)),)))


def test_kinds_are_the_genotype_s_cells() -> None:
    for space in (DARTS, ROBNET, SMALL["cell-free"]):
        genotype = space.sample(Random(1))
        for place in range(3):
            for reduction in (False, True):
                kind = space.kind(place, reduction=reduction)
                assert genotype.cells[kind] is genotype.cell(place, reduction=reduction)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"operations": ("conv",)}, "operations: unknown name 'conv'"),
        ({"operations": ("none",)}, "expected at least one beside none"),
        ({"operations": ("skip_connect", "skip_connect")}, "expected each once"),
        ({"inputs": 3}, "inputs: expected 1 to 2"),
        ({"nodes": 0}, "nodes, places: expected at least 1"),
        ({"layout": "one"}, "layout: expected one of: shared"),
    ],
)
def test_a_space_that_can_t_be_is_explained(options, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Space(**{"operations": TWO} | options)


def test_a_single_genotype_has_no_neighbour() -> None:
    space = Space(("skip_connect",), nodes=1, inputs=2, layout="shared")
    with pytest.raises(InputError, match="expected a space of more than one genotype"):
        space.mutate(space.sample(Random(0)), Random(0))
