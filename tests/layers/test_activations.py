"""Activations against their formulas."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from advarch.layers.activations import Activation, SmoothReLU, make_activation

POINTS = [-30.0, -3.0, -0.5, -1e-3, 1e-3, 0.4, 2.0, 30.0]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "softplus": softplus,
    "mish": lambda x: x * math.tanh(softplus(x)),
    "leaky_relu": lambda x: x if x > 0 else 0.1 * x,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "smooth_relu": lambda x: max(0.0, x - math.log(400 * abs(x) + 1) / 400),
}


def values(activation: nn.Module, points: list[float]) -> list[float]:
    return activation.double()(torch.tensor(points, dtype=torch.float64)).tolist()


def test_every_name_has_a_formula() -> None:
    assert set(FORMULAS) == set(get_args(Activation))


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_equals_its_formula(name: str) -> None:
    expected = [FORMULAS[name](x) for x in POINTS]
    assert values(make_activation(name), POINTS) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_no_name_is_relu_and_an_unknown_one_is_refused() -> None:
    assert isinstance(make_activation(None), nn.ReLU)
    with pytest.raises(ValueError, match=r"activation: expected one of relu, silu.*came 'sinus'"):
        make_activation("sinus")


def slope(activation: nn.Module, x: float) -> tuple[float, Tensor]:
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    activation.double()(point).backward()
    return float(point.grad), activation.root.grad


def test_the_slope_of_smooth_relu_is_continuous_and_its_closed_form() -> None:
    for x in (1e-9, 1e-4, 0.01, 1.0, 50.0):
        found, _ = slope(SmoothReLU(), x)
        assert found == pytest.approx(400 * x / (400 * x + 1), rel=1e-9)
    for x in (-1.0, -1e-9, 0.0):
        assert slope(SmoothReLU(), x)[0] == 0


def test_smooth_relu_learns_its_root_by_the_derivative_of_its_formula() -> None:
    x, root = 0.3, 20.0
    beta = root**2
    # d/dbeta of -log(beta x + 1)/beta, times d(root^2)/droot.
    expected = (math.log(beta * x + 1) / beta**2 - x / (beta * (beta * x + 1))) * 2 * root
    assert float(slope(SmoothReLU(), x)[1]) == pytest.approx(expected, rel=1e-6)
    assert [p.shape for p in SmoothReLU().parameters()] == [torch.Size([])]


def test_smooth_relu_tends_to_relu() -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    gaps = [(SmoothReLU(root).double()(x) - x.relu()).abs().max().item() for root in (2.0, 20.0, 2000.0)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-5
