"""The FSP distance: matrices by hand, a network of which it is known, and RobNet's cells against sums written out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advarch.backbones.cell_net import CellBlock, CellNet
from advarch.errors import InputError
from advarch.metrics.fsp import fsp, fsp_matrix


def test_the_matrix_of_maps_by_hand() -> None:
    f_in = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    f_out = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]], [[0.0, 0.0], [8.0, 0.0]]]])
    assert fsp_matrix(f_in, f_out).tolist() == [[[5 / 4, 20 / 4, 24 / 4], [1 / 4, 4 / 4, 0.0]]]


@pytest.mark.parametrize(("resize", "pooled"), [("max", [[5.0, 7.0], [13.0, 15.0]]), ("average", [[2.5, 4.5], [10.5, 12.5]])])  # fmt: skip
def test_the_larger_map_is_pooled_to_the_smaller(resize: Any, pooled: list[list[float]]) -> None:
    large, small = torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[[[1.0, 0.0], [0.0, 2.0]]]])
    expected = (pooled[0][0] + 2 * pooled[1][1]) / 4
    assert fsp_matrix(large, small, resize=resize).item() == expected
    assert fsp_matrix(small, large, resize=resize).item() == expected
    # Three pixels become two by windows that share the middle one.
    odd = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert fsp_matrix(odd, torch.ones(1, 1, 1, 2)).item() == (2 + 3) / 2


class Scaling(CellBlock):
    """A cell whose output is its newer input times a factor."""

    def __init__(self, factor: float) -> None:
        nn.Module.__init__(self)
        self.factor = factor

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        return self.factor * newer


class Known(nn.Module):
    """Inputs x and x, cells that scale by 3 and 5; the logits are the channels' means."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([Scaling(3.0), Scaling(5.0)])

    def forward(self, x: Tensor) -> Tensor:
        older = newer = x
        for cell in self.cells:
            older, newer = newer, cell(older, newer)
        return newer.mean((2, 3))


@pytest.mark.parametrize(("cell_input", "factors"), [("newer", (3.0, 45.0)), ("older", (3.0, 15.0))])
def test_the_distance_of_a_known_network(cell_input: Any, factors: tuple[float, float]) -> None:
    x = torch.rand(5, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    y = x.mean((2, 3)).argmax(1)

    def double_and_swap(model: Any, x: Tensor, y: Tensor, /, **_: Any) -> Tensor:
        return 2 * x.flip(1)

    found = fsp(Known(), x, y, attack=double_and_swap, cell_input=cell_input, deepest=1, batch_size=2)
    # x x^T / (h w) of each image; the adversarial one is four times its mirror image.
    g = torch.einsum("nchw,ndhw->ncd", x, x).double() / 12
    per_image = (g - 4 * g.flip(1, 2)).square().sum((1, 2))
    expected = [factor**2 * per_image.mean().item() for factor in factors]
    assert found.table["distance"] == pytest.approx(expected, rel=1e-5)
    error = per_image.std(correction=0).item() / 5**0.5
    assert found.table["error"] == pytest.approx([factor**2 * error for factor in factors], rel=1e-5)
    assert found.table["cell"] == [0, 1]
    assert found.numbers == pytest.approx(
        {"deep": expected[1], "deep_cells": 1, "mean": sum(expected) / 2, "clean_accuracy": 1, "robust_accuracy": 0, "gap": 1},
        rel=1e-5,
    )  # fmt: skip


def test_robnet_cells_against_sums_written_out() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CellNet(
            classes=3, in_channels=1, genotype="robnet_large", cells=3, channels=[2, 2, 2, 2], affine=False
        )
        x = torch.rand(3, 1, 8, 8)
    net.train()
    net.cells[1].eval()
    flags = [module.training for module in net.modules()]

    def shift(model: Any, x: Tensor, y: Tensor, /, **_: Any) -> Tensor:
        return (x + 0.1).clamp(max=1)

    found = fsp(net, x, torch.zeros(3, dtype=torch.long), attack=shift, batch_size=2)
    assert flags == [module.training for module in net.modules()]
    assert not any(module._forward_hooks for module in net.modules())
    net.eval()
    matrices = []
    for images in (x, shift(net, x, x)):
        older = net.stems[0](images)
        newer, rows = net.stems[1](older), []
        for cell in net.cells:
            output = cell(older, newer)
            pooled = nn.functional.max_pool2d(newer, newer.shape[-1] // output.shape[-1])
            a, b = pooled.flatten(2), output.flatten(2)
            rows.append(sum(a[:, :, None, s] * b[:, None, :, s] for s in range(a.shape[2])) / a.shape[2])
            older, newer = newer, output
        matrices.append(rows)
    expected = [
        (clean - moved).square().sum((1, 2)).mean().item() for clean, moved in zip(*matrices, strict=True)
    ]
    assert len(expected) == 3 and min(expected) > 0
    assert found.table["distance"] == pytest.approx(expected, rel=1e-4)


def test_a_network_without_cells_is_refused() -> None:
    with pytest.raises(InputError, match="fsp: expected a network of cells"):
        fsp(
            nn.Linear(2, 2),
            torch.rand(1, 1, 1, 2),
            torch.zeros(1, dtype=torch.long),
            attack=lambda m, x, y: x,
        )
