"""Derivation rules on weights chosen by hand."""

import pytest
import torch

from advarch.errors import InputError
from advarch.genotype.cell import Edge
from advarch.genotype.space import Space
from advarch.layers.mixed_op import Mixing
from advarch.search.derivation import strongest

SPACE = Space(("none", "skip_connect", "sep_conv_3x3"), nodes=2, layout="shared")
# Edges 0-2, 1-2, 0-3, 1-3, 2-3. Zero is the strongest nearly everywhere and counts nowhere.
OPERATIONS = torch.tensor(
    [[[0.9, 0.02, 0.08], [0.1, 0.5, 0.4], [0.4, 0.35, 0.25], [0.9, 0.05, 0.05], [0.5, 0.2, 0.3]]]
)


def nodes(mixing: Mixing, space: Space = SPACE) -> tuple[tuple[Edge, ...], ...]:
    genotype = strongest(space, mixing, name="found")
    assert space.contains(genotype)
    return genotype.cells[0].nodes


def test_darts_keeps_the_two_edges_of_the_strongest_operations() -> None:
    assert nodes(Mixing(OPERATIONS)) == (
        (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),
        (Edge("skip_connect", 0), Edge("sep_conv_3x3", 2)),
    )


def test_weighed_edges_decide_which_stay_but_not_what_they_carry() -> None:
    inputs = torch.tensor([[0.1, 0.9, 0.05, 0.8, 0.15]])
    # Strengths of the edges into node 3: 0.0175, 0.04, 0.045.
    assert nodes(Mixing(OPERATIONS, inputs))[1] == (Edge("skip_connect", 1), Edge("sep_conv_3x3", 2))


def test_one_input_a_node_and_ties_go_to_the_first() -> None:
    one = Space(SPACE.operations, nodes=2, inputs=1, layout="shared")
    assert nodes(Mixing(OPERATIONS), one) == ((Edge("skip_connect", 1),), (Edge("skip_connect", 0),))
    assert nodes(Mixing(torch.ones(1, 5, 3))) == ((Edge("skip_connect", 0), Edge("skip_connect", 1)),) * 2


def test_every_kind_is_derived_on_its_own_and_free_edges_are_refused() -> None:
    two = Space(SPACE.operations, nodes=2)
    genotype = strongest(two, Mixing(torch.cat([OPERATIONS, OPERATIONS.flip(1)])), name="found")
    assert genotype.cells[0].nodes == nodes(Mixing(OPERATIONS))
    assert genotype.cells[1].nodes == nodes(Mixing(OPERATIONS.flip(1)))
    with pytest.raises(InputError, match="expected a number of inputs of each node"):
        strongest(Space(SPACE.operations, inputs=None, layout="shared"), Mixing(OPERATIONS), name="found")
