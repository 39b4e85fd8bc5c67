"""Winograd's form of wide 3x3 convolutions: torch's outputs, gradients and second derivatives, on maps of any size."""

import pytest
import torch
from torch import nn

from advarch.layers import winograd
from advarch.layers.winograd import FrozenWide, fills, transformed, wide
from tests.layers.test_frozen import derivatives


def convolution(inputs: int = 5, outputs: int = 7, **options) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, **{"kernel_size": 3, "padding": 1} | options)


@pytest.mark.parametrize("pixels", [(8, 8), (4, 12), (7, 8), (15, 14), (4, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("at_once", [1, 1 << 20], ids=["an image at a time", "together"])
def test_it_and_its_derivatives_are_torch_s(
    monkeypatch: pytest.MonkeyPatch, pixels: tuple[int, int], bias: bool, at_once: int
) -> None:
    monkeypatch.setattr(winograd, "AT_ONCE", at_once)
    monkeypatch.setattr(winograd.F, "conv2d", None)  # the layer itself does not fall back
    layer, x = convolution(bias=bias).double(), torch.randn(3, 5, *pixels, dtype=torch.float64)
    found = derivatives(FrozenWide(layer), x)
    monkeypatch.undo()
    torch.testing.assert_close(found, derivatives(layer, x), rtol=0, atol=1e-11)


def test_a_map_that_tiles_fill_badly_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fills(8, 8) and fills(7, 7) and not fills(6, 6) and not fills(5, 8) and not fills(2, 2)
    layer = convolution().double()
    frozen = FrozenWide(layer)
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64)
    monkeypatch.setattr(winograd, "_convolved", None)
    assert torch.equal(frozen(x), layer(x))


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("pixels", [(8, 8), (7, 8)])
def test_what_follows_finds_a_tensor_as_torch_s_convolution_makes_it(
    last: bool, pixels: tuple[int, int]
) -> None:
    layer, x = convolution().double(), torch.randn(2, 5, *pixels, dtype=torch.float64)
    if last:
        layer, x = (each.to(memory_format=torch.channels_last) for each in (layer, x))
    x.requires_grad_()
    found, expected = FrozenWide(layer)(x), layer(x)
    assert found.stride() == expected.stride()
    if not last:
        assert found.view(2, -1).shape == expected.view(2, -1).shape
    torch.testing.assert_close(
        torch.autograd.grad(torch.relu_(found).sum(), x), torch.autograd.grad(torch.relu_(expected).sum(), x)
    )


@pytest.mark.parametrize("shape", [(0, 5, 8, 8), (5, 8, 8)])
def test_no_images_and_one_without_a_batch_are_left_to_torch(shape: tuple[int, ...]) -> None:
    layer = convolution().double()
    x = torch.randn(shape, dtype=torch.float64)
    assert torch.equal(FrozenWide(layer)(x), layer(x))


def test_weights_of_one_pixel_in_the_middle_are_transformed_as_by_hand() -> None:
    """G e2 e2^T G^T is the outer product of G's middle column."""
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 1, 1] = 1
    column = torch.tensor([0, -1 / 6, 1 / 6, 1 / 12, -1 / 12, 0], dtype=torch.float64)
    torch.testing.assert_close(transformed(weight).view(6, 6), column.outer(column))


def test_rounding_in_single_precision_is_some_1e_5_of_the_output() -> None:
    torch.manual_seed(0)
    layer, x = convolution(128, 128, bias=False), torch.randn(4, 128, 16, 16)
    with torch.no_grad():
        exact = nn.functional.conv2d(x.double(), layer.weight.double(), padding=1)
        error = (FrozenWide(layer)(x) - exact).abs().max() / exact.std()
    assert 0 < error < 1e-4


@pytest.mark.parametrize(
    ("layer", "dtype", "expected"),
    [
        (convolution(96, 96), None, True),
        (convolution(96, 95), None, False),
        (convolution(96, 96), torch.bfloat16, False),
        (convolution(96, 96).bfloat16(), None, False),
        (convolution(96, 96).double(), None, True),
        (convolution(96, 96, stride=2), None, False),
        (convolution(96, 96, dilation=2, padding=2), None, False),
        (convolution(96, 96, groups=2), None, False),
        (convolution(96, 96, kernel_size=5, padding=2), None, False),
        (convolution(96, 96, padding=0), None, False),
        (convolution(96, 96, padding_mode="circular"), None, False),
        (convolution(96, 96).to("meta"), None, False),
        (nn.Linear(96, 96), None, False),
    ],
    ids=str,
)
def test_it_stands_for_plain_wide_convolutions_on_a_cpu(
    layer: nn.Module, dtype: torch.dtype | None, expected: bool
) -> None:
    assert wide(layer, dtype) == expected
