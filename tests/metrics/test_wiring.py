"""Density and direct edges of a network's cells, place by place."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from advarch.backbones.cell_net import CellNet
from advarch.errors import InputError
from advarch.genotype.published import resolve
from advarch.metrics.wiring import wiring

X, Y = torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.long)


def network(genotype: str, cells: int) -> nn.Module:
    with torch.device("meta"):
        net = CellNet(classes=2, in_channels=1, genotype=genotype, cells=cells, channels=2)
    return nn.Sequential(nn.Identity(), net)


def test_robnet_s_cells_by_hand() -> None:
    # RobNet-large: 22 of 28 operations, 3 of 4 direct edges with a convolution, which are 3 of its 13 convolutions.
    found = wiring(network("robnet_large", 4), X, Y)
    expected = {
        "density": 22 / 28,
        "direct_edge_share": 3 / 4,
        "direct_convolution_share": 3 / 13,
        "convolutions": 13,
    }
    assert found.numbers == pytest.approx(expected)
    assert found.table == {"cell": [0, 1, 2, 3]} | {name: [value] * 4 for name, value in expected.items()}


def test_reductions_have_a_cell_of_their_own() -> None:
    normal, reduction = (
        sum(edge.op != "skip_connect" and "pool" not in edge.op for _, edge in cell.edges)
        for cell in resolve("darts_v2").cells
    )
    darts = wiring(network("darts_v2", 6), X, Y, candidates=1)
    assert normal != reduction
    assert darts.table["convolutions"] == [normal, normal, reduction, normal, reduction, normal]
    assert darts.table["density"] == [float(Fraction(8, 14))] * 6


def test_a_network_without_cells_is_refused() -> None:
    with pytest.raises(InputError, match="wiring: expected a network of cells"):
        wiring(nn.Linear(2, 2), X, Y)
