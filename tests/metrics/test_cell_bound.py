"""RACL's bound of networks whose weights make every constant known."""

import math

import pytest
import torch
from torch import nn

from advarch.backbones.cell_net import CellNet
from advarch.errors import InputError
from advarch.genotype.cell import Cell, Edge, Genotype
from advarch.genotype.stored import to_plain
from advarch.layers.cell_operations import operation
from advarch.metrics.cell_bound import cell_bound
from advarch.metrics.convolution_norms import convolution_norms
from advarch.metrics.operation_norm import operation_norm
from advarch.metrics.spectral import convolution_norm

X, Y = torch.rand(1, 1, 8, 8), torch.zeros(1, dtype=torch.long)


def cells() -> CellNet:
    """Three cells of two nodes: a separable convolution and a skip, then average pooling."""
    cell = Cell(
        ((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (Edge("avg_pool_3x3", 1),)),
        concat=(2, 3),
    )
    return CellNet(
        classes=2, in_channels=1, genotype=to_plain(Genotype("made", "shared", (cell,))), cells=3, channels=2
    ).eval()


def set_kernels(network: nn.Module) -> None:
    """Every 3x3 kernel twice its middle pixel, every 1x1 three times the identity: norms 2 and 3, in whatever way."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            middle = module.kernel_size[0] // 2
            factor = 2.0 if middle else 3.0
            for channel in range(module.out_channels):
                module.weight.data[channel, channel % module.weight.shape[1], middle, middle] = factor


def test_the_bound_of_a_hand_made_network() -> None:
    network = cells()
    set_kernels(network)
    found = cell_bound(network, X, Y)
    # Cells 1 and 2 reduce. A separable convolution: (2 * 3)^2. A skip of stride 2: 3, its channels halved and sampled.
    nodes = [36 + 1, 1, *2 * (36 + 3, 2**-0.5)]
    assert found.table["cell"] == tuple(f"cells.{k}" for k in (0, 0, 1, 1, 2, 2))
    assert found.table["node"] == (2, 3, 2, 3, 2, 3)
    assert found.table["constant"] == pytest.approx(nodes, rel=1e-5)
    assert found.table["constant_exact"] == pytest.approx(nodes, rel=1e-5)
    assert found.numbers["log_bound"] == pytest.approx(sum(map(math.log, nodes)))


def test_scales_of_batch_normalisation_count_on_request() -> None:
    network = cells()
    set_kernels(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
            nn.init.constant_(module.weight, -0.5)
            assert module.running_var is not None
            nn.init.constant_(module.running_var, 4.0)
    found = cell_bound(network, X, Y, batch_norm=True)
    # Each of the two norms of a separable convolution: 0.5 / sqrt(4).
    assert found.table["constant"][0] == pytest.approx(36 * 0.25**2 + 1)


@pytest.mark.parametrize(
    ("name", "stride", "constant"),
    [
        ("none", 1, 0.0),
        ("skip_connect", 1, 1.0),
        ("max_pool_3x3", 2, 1.0),
        ("avg_pool_3x3", 1, 1.0),
        ("avg_pool_3x3", 2, 2**-0.5),
        ("dil_conv_3x3", 1, 6.0),
        ("sep_conv_5x5", 2, 36.0),
        ("skip_connect", 2, 3.0),
    ],
)
def test_the_constants_of_operations(name: str, stride: int, constant: float) -> None:
    made = operation(name, 2, stride)
    set_kernels(made)
    assert operation_norm(made, lambda c: float(convolution_norm(c, (8, 8)))) == pytest.approx(constant)


def test_the_constant_of_a_stride_2_skip_is_that_of_the_whole_map() -> None:
    torch.manual_seed(0)
    skip = operation("skip_connect", 4, 2)
    basis = torch.eye(4 * 16).view(-1, 4, 4, 4)
    with torch.no_grad():
        matrix = torch.cat([skip.even(basis), skip.odd(basis[:, :, 1:, 1:])], 1).flatten(1)  # type: ignore[operator]
    exact = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert operation_norm(skip, lambda c: float(convolution_norm(c, (4, 4)))) == pytest.approx(
        exact, rel=1e-5
    )


def test_what_has_weights_and_is_unknown_is_refused_and_so_is_a_network_without_cells() -> None:
    with pytest.raises(InputError, match="Linear"):
        operation_norm(nn.Linear(2, 2), lambda c: 1.0)
    with pytest.raises(InputError, match="cell_bound"):
        cell_bound(nn.Flatten(), X, Y)


def test_the_norms_of_every_convolution_beside_each_other() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 1))
    set_kernels(network)
    found = convolution_norms(network, X, Y)
    # One channel copied to two, twice as large: 2 sqrt(2).
    assert found.table["convolution"] == ("0", "2")
    for column in ("kernel", "padded", "exact"):
        assert found.table[column] == pytest.approx((2 * math.sqrt(2), 3.0), rel=1e-4)
    assert found.numbers == pytest.approx(
        {"kernel_over_exact": 1.0, "padded_over_exact": 1.0, "largest": 3.0}, rel=1e-4
    )
    with pytest.raises(InputError, match="convolution_norms"):
        convolution_norms(nn.Flatten(), X, Y)
