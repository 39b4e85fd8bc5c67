"""Costs from the description alone against counted modules and networks."""

from functools import partial
from random import Random

import pytest
import torch

from advarch.backbones.cell_net import CellNet
from advarch.genotype.cost import Cost, cell_cost, network_parameters, operation_cost
from advarch.genotype.operations import OPERATIONS
from advarch.genotype.published import published
from advarch.genotype.space import DARTS_OPERATIONS, ROBNET_OPERATIONS, Space
from advarch.genotype.stored import to_plain
from advarch.layers.cell_operations import operation
from advarch.metrics.cost import macs, parameters, size


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("op", OPERATIONS)
def test_an_operation_s_cost_is_that_of_its_module(op: str, affine: bool) -> None:
    for stride in (1, 2):
        for side in (5, 8):
            made = operation(op, 6, stride, affine=affine)
            found = operation_cost(op, 6, side, stride=stride, affine=affine)
            counted = macs(made, (6, side, side)) if found.macs else 0
            assert found == Cost(parameters(made), counted)


@pytest.mark.parametrize("name", ["darts_v2", "pc_darts", "racl_v1", "robnet_large", "robnet_free"])
def test_published_networks_have_as_many_parameters_as_counted(name: str) -> None:
    known = {"darts_v2": 3_349_342, "pc_darts": 3_634_678, "racl_v1": 3_571_174}
    known |= {"robnet_large": 6_842_710, "robnet_free": 5_439_790}
    affine = not name.startswith("robnet")
    found = network_parameters(
        published(name), cells=20, channels=36, classes=10, in_channels=3, affine=affine
    )
    assert found == known[name]


@pytest.mark.parametrize("layout", ["shared", "normal_reduce", "each"])
@pytest.mark.parametrize("seed", [0, 2])
def test_derived_networks_have_as_many_parameters_as_counted(layout, seed: int) -> None:
    space = Space(
        DARTS_OPERATIONS if seed else ROBNET_OPERATIONS, inputs=2 if seed else None, layout=layout, places=3
    )
    genotype = space.sample(Random(seed))
    options = {"cells": 3, "channels": 4, "classes": 3, "in_channels": 1, "affine": seed < 2}
    build = partial(CellNet, genotype=to_plain(genotype), **options)
    assert network_parameters(genotype, **options) == size(build, (1, 8, 8)).parameters


def test_a_cell_costs_what_its_edges_cost() -> None:
    cell = published("darts_v2").cells[0]
    with torch.device("meta"):
        edges = [operation(edge.op, 8, 2 if edge.source < 2 else 1) for _, edge in cell.edges]
    sides = [9 if edge.source < 2 else 5 for _, edge in cell.edges]
    counted = [
        macs(made, (8, side, side)) if parameters(made) else 0
        for made, side in zip(edges, sides, strict=True)
    ]
    assert cell_cost(cell, 8, 9, reduction=True) == Cost(sum(map(parameters, edges)), sum(counted))
