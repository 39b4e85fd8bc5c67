"""RobustWRN's theorems: their formulas by hand, and that Gaussian weights stay below them on average."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advarch.errors import InputError
from advarch.metrics.gaussian_bound import convolution_factor, dense_factor, log_bound, weight_variance

SIGMA = 0.3


def test_theorem_1_by_hand() -> None:
    factors = [dense_factor(4, 9), dense_factor(9, 16)]
    assert factors == [5.0, 7.0]
    assert math.exp(log_bound(factors, [0.1, 0.2])) == pytest.approx(5 * 0.1 * 7 * 0.2)


def test_theorem_2_by_hand() -> None:
    # m sqrt(W0) + (m - k + 1) sqrt(W1) = 32 * 2 + 30 * 3.
    assert convolution_factor(4, 9, size=(32, 32), kernel=(3, 3)) == pytest.approx(154.0)
    with pytest.raises(ValueError, match="no larger than its map"):
        convolution_factor(4, 9, size=(2, 8), kernel=(3, 3))


def test_a_layer_without_spread_bounds_everything_by_zero() -> None:
    assert log_bound([2.0, 3.0], [0.5, 0.0]) == -math.inf


def test_gaussian_matrices_have_norms_below_theorem_1_and_near_it() -> None:
    drawn = SIGMA * torch.randn(40, 100, 60, generator=torch.Generator().manual_seed(0))
    mean = float(torch.linalg.matrix_norm(drawn, ord=2).mean())
    assert 0.9 < mean / (SIGMA * dense_factor(60, 100)) < 1.0


def test_gaussian_convolutions_have_norms_below_theorem_2() -> None:
    generator, basis = torch.Generator().manual_seed(0), torch.eye(3 * 36).view(-1, 3, 6, 6)
    norms = [
        torch.linalg.matrix_norm(
            F.conv2d(basis, SIGMA * torch.randn(5, 3, 3, 3, generator=generator)).flatten(1), ord=2
        )
        for _ in range(10)
    ]
    assert float(torch.stack(norms).mean()) < SIGMA * convolution_factor(3, 5, size=(6, 6), kernel=(3, 3))


def network(scale: float) -> nn.Module:
    """A grouped convolution and a linear layer, the weights of each plus and minus a number."""
    made = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, groups=2), nn.Flatten(), nn.Linear(32, 3))
    for module, size in ((made[0], 0.5 * scale), (made[2], 0.2 * scale)):
        assert isinstance(module, nn.Conv2d | nn.Linear)
        signs = torch.ones(module.weight.numel())
        signs[::2] = -1
        module.weight = nn.Parameter(size * signs.view_as(module.weight))
    return made


def test_the_variances_of_every_layer_and_the_bounds_from_them() -> None:
    x, y = torch.rand(2, 4, 4, 4), torch.zeros(2, dtype=torch.long)
    found = weight_variance(network(2.0), x, y, initial=network(1.0))
    assert found.table["layer"] == ["0", "2"] and found.table["kind"] == ["convolution", "linear"]
    assert found.table["variance"] == pytest.approx([1.0, 0.16])
    assert found.table["initial_variance"] == pytest.approx([0.25, 0.04])
    assert found.numbers["variance_ratio"] == pytest.approx(4.0)
    # One group takes 2 channels to 4; its kernel runs over the map of 4 and one pixel of padding on every side.
    convolution, linear = 6 * math.sqrt(2) + 4 * math.sqrt(4), math.sqrt(32) + math.sqrt(3)
    assert found.table["factor"] == pytest.approx([convolution, linear])
    assert found.numbers["log_bound"] == pytest.approx(math.log(convolution * 1.0 * linear * 0.4))
    assert found.numbers["log_bound_initial"] == pytest.approx(found.numbers["log_bound"] - 2 * math.log(2))


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(InputError, match="weight_variance"):
        weight_variance(nn.Flatten(), torch.rand(1, 1, 2, 2), torch.zeros(1).long(), initial=nn.Flatten())
