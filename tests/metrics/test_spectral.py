"""Norms of convolutions against the dense singular values of the unrolled maps."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.metrics.spectral import circular_norm, convolution_norm, kernel_norm, linear_norm, padded_norm

CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3, "groups": 4},
    {"kernel_size": 3, "groups": 2, "stride": 2},
    {"kernel_size": 5, "groups": 4, "dilation": 2},
    {"kernel_size": (1, 3), "stride": (1, 2)},
    {"kernel_size": 7},
]


def made(settings: dict[str, object], padding: str | int = 0) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, bias=False, padding=padding, **settings).double()  # type: ignore[arg-type]


def dense(linear: object, channels: int, size: tuple[int, int]) -> float:
    """The largest singular value of the matrix whose columns are the map of every unit image."""
    basis = torch.eye(channels * size[0] * size[1], dtype=torch.float64).view(-1, channels, *size)
    with torch.no_grad():
        return float(torch.linalg.matrix_norm(linear(basis).flatten(1), ord=2))  # type: ignore[operator]


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_the_fourier_norm_is_that_of_the_unrolled_circular_convolution(settings: dict[str, object]) -> None:
    convolution = made(settings)
    reach = [d * (k - 1) for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True)]

    def circular(x: Tensor) -> Tensor:
        tiled = x.repeat(1, 1, 4, 4)[:, :, : 6 + reach[0], : 4 + reach[1]]
        return convolution(tiled)

    assert float(convolution_norm(convolution, (6, 4))) == pytest.approx(
        dense(circular, 4, (6, 4)), rel=1e-12
    )


@pytest.mark.parametrize("settings", CONVOLUTIONS[:6], ids=str)
def test_the_power_iteration_is_that_of_the_zero_padded_one_and_the_fourier_norm_bounds_it(
    settings: dict[str, object],
) -> None:
    convolution = made(settings, padding=2)
    exact = dense(convolution, 4, (5, 5))
    assert float(padded_norm(convolution, (5, 5), steps=300)) == pytest.approx(exact, rel=1e-4)
    reach = convolution.dilation[0] * (convolution.kernel_size[0] - 1)
    assert exact <= float(convolution_norm(convolution, (5 + reach, 5 + reach))) * (1 + 1e-12)


def test_one_pixel_and_an_average_are_known_in_closed_form() -> None:
    identity = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    assert float(circular_norm(identity, (8, 8))) == pytest.approx(1.0)
    assert float(circular_norm(identity, (8, 8), stride=(2, 2))) == pytest.approx(1.0)
    mean = torch.full((1, 1, 2, 2), 0.25, dtype=torch.float64)
    assert float(circular_norm(mean, (8, 8))) == pytest.approx(1.0)  # constant images stay
    # Of four pixels with mean m, ||out|| = |m| and ||in|| = 2 |m|: S^-1 on a side of S = 2.
    assert float(circular_norm(mean, (8, 8), stride=(2, 2))) == pytest.approx(0.5)


def test_the_kernel_norm_is_the_largest_singular_value_of_the_reshaped_kernel_by_groups() -> None:
    weight = made({"kernel_size": 3, "groups": 2}).weight.detach()
    blocks = weight.reshape(2, 4, -1)
    exact = float(torch.linalg.matrix_norm(blocks, ord=2).amax())
    assert float(kernel_norm(weight, groups=2, steps=200)) == pytest.approx(exact, rel=1e-6)


def test_a_map_of_zeros_has_norm_zero() -> None:
    zeros = torch.zeros(2, 2, 3, 3)
    assert float(kernel_norm(zeros)) == 0.0
    assert float(circular_norm(zeros, (4, 4))) == 0.0
    assert float(linear_norm(lambda x: 0.0 * x, torch.empty(1, 3))) == 0.0


def test_average_pooling_without_overlap_has_norm_one_over_its_stride() -> None:
    pool = linear_norm(lambda x: F.avg_pool2d(x, 2), torch.empty(1, 2, 8, 8), steps=5)
    assert float(pool) == pytest.approx(1 / math.sqrt(4), rel=1e-5)
