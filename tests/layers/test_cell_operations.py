"""Operations of cells against plain functions of their weights, on even and odd maps."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.errors import InputError
from advarch.genotype.operations import OPERATIONS
from advarch.layers.auxiliary_head import AuxiliaryHead
from advarch.layers.cell_operations import FactorizedReduce, Zero, operation

SIZES = [(8, 8), (7, 9), (6, 5), (1, 1), (2, 1)]


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def convolved(x: Tensor, weight: Tensor, stride: int, dilation: int = 1, groups: int = 1) -> Tensor:
    """Convolution as a sum over windows of the zero-padded map."""
    kernel = weight.shape[-2:]
    pads = [dilation * (k - 1) // 2 for k in kernel]
    padded = F.pad(x, (pads[1], pads[1], pads[0], pads[0]))
    columns = F.unfold(padded, kernel, dilation, 0, stride)
    columns = columns.view(len(x), groups, -1, columns.shape[-1])
    result = torch.einsum("ngkl,gok->ngol", columns, weight.reshape(groups, weight.shape[0] // groups, -1))
    height = (padded.shape[2] - dilation * (kernel[0] - 1) - 1) // stride + 1
    return result.reshape(len(x), weight.shape[0], height, -1)


def normalised(x: Tensor) -> Tensor:
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def weights(module: nn.Module) -> list[Tensor]:
    return [m.weight.detach() for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "name", ["sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5"]
)
def test_separable_and_dilated_convolutions(name: str, stride: int, size: tuple[int, int]) -> None:
    made, x = operation(name, 4, stride).double().train(), images(3, 4, *size)
    dilation, found = (2, x) if name.startswith("dil") else (1, x)
    kernels = weights(made)
    assert len(kernels) == (2 if dilation == 2 else 4)
    for step, (deep, point) in enumerate(zip(kernels[::2], kernels[1::2], strict=True)):
        assert deep.shape[1:] == (1, int(name[-1]), int(name[-1])) and point.shape == (4, 4, 1, 1)
        found = convolved(F.relu(found), deep, 1 if step else stride, dilation, groups=4)
        found = normalised(convolved(found, point, 1))
    torch.testing.assert_close(made(x), found)


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("stride", [1, 2])
def test_factorised_convolution_halves_a_side_at_a_time(stride: int, size: tuple[int, int]) -> None:
    made, x = operation("conv_7x1_1x7", 4, stride).double().train(), images(3, 4, *size)
    wide, high = weights(made)
    assert wide.shape == (4, 4, 1, 7) and high.shape == (4, 4, 7, 1)
    found = convolved(F.relu(x), wide, 1)[:, :, :, ::stride]
    found = normalised(convolved(found, high, 1)[:, :, ::stride])
    torch.testing.assert_close(made(x), found)


@pytest.mark.parametrize("size", SIZES)
def test_factorised_reduction_has_even_pixels_in_one_half_and_odd_ones_in_the_other(
    size: tuple[int, int],
) -> None:
    made, x = FactorizedReduce(4, 5, affine=False, act="relu").double().train(), images(6, 4, *size)
    even, odd = weights(made)
    assert (even.shape[0], odd.shape[0]) == (2, 3)
    height, width = (math.ceil(side / 2) for side in size)
    padded = torch.zeros(6, 4, 2 * height, 2 * width, dtype=torch.float64)
    padded[:, :, : size[0], : size[1]] = F.relu(x)
    halves = [
        torch.einsum("nihw,oi->nohw", padded[:, :, offset::2, offset::2], weight[:, :, 0, 0])
        for offset, weight in enumerate((even, odd))
    ]
    torch.testing.assert_close(made(x), normalised(torch.cat(halves, dim=1)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_pools_see_the_pixels_inside_the_map_only(stride: int, size: tuple[int, int]) -> None:
    x = images(2, 3, *size)
    rows, columns = range(0, size[0], stride), range(0, size[1], stride)
    windows = [
        [x[:, :, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].flatten(2) for c in columns] for r in rows
    ]
    for name, reduce in (("max_pool_3x3", lambda w: w.amax(2)), ("avg_pool_3x3", lambda w: w.mean(2))):
        expected = torch.stack([torch.stack([reduce(w) for w in row], -1) for row in windows], -2)
        torch.testing.assert_close(operation(name, 3, stride)(x), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_all_operations_give_maps_of_one_size(name: str, stride: int, size: tuple[int, int]) -> None:
    expected = (4, 6, *(math.ceil(side / stride) for side in size))
    assert operation(name, 6, stride).eval()(torch.rand(4, 6, *size)).shape == expected


def test_skip_and_none() -> None:
    x = images(2, 4, 5, 5)
    assert operation("skip_connect", 4, 1)(x) is x
    assert isinstance(operation("skip_connect", 4, 2), FactorizedReduce)
    zero = operation("none", 4, 2)
    assert isinstance(zero, Zero) and torch.equal(zero(x * torch.inf), torch.zeros(2, 4, 3, 3).double())
    with pytest.raises(InputError, match="unknown name 'sep'; expected one of: sep_conv_3x3"):
        operation("sep", 4, 1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_affine_no_operation_has_norm_weights_and_the_activation_is_the_one_asked_for(
    name: str,
) -> None:
    made = operation(name, 4, 2, affine=False, act="silu")
    assert all(p.dim() == 4 for p in made.parameters())
    assert not any(isinstance(m, nn.ReLU) for m in made.modules())
    with_norm = sum(p.numel() for p in operation(name, 4, 2).parameters())
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in made.modules())
    assert with_norm - sum(p.numel() for p in made.parameters()) == 8 * norms


@pytest.mark.parametrize(
    ("side", "window", "stride"), [(8, 5, 3), (7, 5, 2), (4, 3, 1), (2, 1, 1), (16, 10, 6)]
)
def test_the_auxiliary_head_pools_the_corners(side: int, window: int, stride: int) -> None:
    head, x = AuxiliaryHead(6, 10, "relu").double().eval(), images(2, 6, side, side)
    pooled = F.avg_pool2d(F.relu(x), window, stride)
    assert pooled.shape[-2:] == (2, 2)
    torch.testing.assert_close(head(x), head.head(head.features(pooled).flatten(1)))
    # 1x1 from 6, its norm, 2x2 to 768, its norm, linear
    assert sum(p.numel() for p in head.parameters()) == 6 * 128 + 256 + 128 * 768 * 4 + 1536 + 768 * 10 + 10
    with pytest.raises(ValueError, match="at least 2x2 after the second reduction, came 1x1"):
        head(x[:, :, :1, :1])
