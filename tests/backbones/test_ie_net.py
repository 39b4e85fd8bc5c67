"""Implicit Euler networks against automatic differentiation, closed forms and counts by hand."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.backbones.ie_net import IENet
from advarch.layers.branch_convolutions import branch_convolutions
from advarch.layers.implicit_euler import ImplicitEulerBlock, NormedBranch
from advarch.metrics.cost import macs, parameters


def branch(kind: str, channels: int = 4) -> NormedBranch:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NormedBranch(branch_convolutions(kind, channels, 3, channels, stride=1)).double()


def images(count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_branch(made: NormedBranch, x: Tensor) -> Tensor:
    for convolution in made.convolutions:
        mean, variance = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), correction=0, keepdim=True)
        x = F.relu((x - mean) / torch.sqrt(variance + 1e-5))
        x = F.conv2d(x, convolution.weight, padding=convolution.kernel_size[0] // 2)
    return x


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_the_misfit_s_gradient_is_that_of_automatic_differentiation(kind: str) -> None:
    f, x, y = branch(kind), images(), images(seed=1).requires_grad_()
    misfit = (y - x - plain_branch(f, y)).square().sum()
    (expected,) = torch.autograd.grad(misfit, y)
    torch.testing.assert_close(f.misfit_gradient(x, y), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_block_and_its_gradients_are_those_of_descent_written_plainly(steps: int) -> None:
    f, x = branch("basic"), images().requires_grad_()
    y = x + plain_branch(f, x)
    for _ in range(steps):
        misfit = (y - x - plain_branch(f, y)).square().sum()
        (slope,) = torch.autograd.grad(misfit, y, create_graph=True)
        y = y - 0.1 * slope
    ours = ImplicitEulerBlock(f, steps=steps, step_size=0.1)(x)
    torch.testing.assert_close(ours, y, rtol=1e-10, atol=1e-12)
    wanted = [x, *f.parameters()]
    found, expected = (torch.autograd.grad(out.square().sum(), wanted) for out in (ours, y))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_many_steps_solve_the_implicit_equation() -> None:
    f, x = branch("basic"), images()
    with torch.no_grad():
        for parameter in f.parameters():
            parameter *= 0.3
        misfits = [
            float((y - x - f(y)).norm())
            for steps in (0, 1, 200)
            for y in [ImplicitEulerBlock(f, steps=steps, step_size=0.1)(x)]
        ]
    assert misfits[0] > misfits[1] > 1e6 * misfits[2]


def test_without_steps_it_is_a_residual_network_and_steps_cost_twice_the_branch() -> None:
    make = partial(
        IENet, classes=3, in_channels=3, depths=[2, 2], channels=[4, 6], block="basic", stem_channels=4
    )
    with torch.device("meta"):
        counts = [macs(make(steps=steps), (3, 8, 8)) for steps in (0, 1, 2)]
        size = parameters(make())
    # At 8x8: stem and four convolutions of two blocks; at 4x4: a stride-2 block with its shortcut, and another block.
    first, second = 9 * 4 * 4 * 64, 9 * 6 * 6 * 16
    residual = 9 * 3 * 4 * 64 + 4 * first + (9 * 4 * 6 * 16 + second + 4 * 6 * 16) + 2 * second + 6 * 3
    # A step takes the branch once forward and once backward, in the three blocks that are implicit.
    step = 2 * (4 * first + 2 * second)
    assert counts == [residual, residual + step, residual + 2 * step]
    assert size == 9 * (3 * 4 + 4 * 4 * 4 + 4 * 6 + 3 * 6 * 6) + 4 * 6 + 6 * 3 + 3


def test_a_network_without_steps_written_plainly() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = IENet(
            classes=3, in_channels=1, depths=[1, 2], channels=[4, 6], block="basic", stem_channels=4, steps=0
        )
    x = torch.rand(2, 1, 8, 8)
    y, (first, down, last) = net.stem(x), net.blocks
    y = y + plain_branch(first.branch, y)
    normed = F.relu(nn.GroupNorm(1, 4)(y))
    inner = F.conv2d(normed, down.branch.convolutions[0].weight, stride=2, padding=1)
    inner = F.conv2d(F.relu(nn.GroupNorm(1, 6)(inner)), down.branch.convolutions[1].weight, padding=1)
    y = F.conv2d(normed, down.shortcut.weight, stride=2) + inner
    y = y + plain_branch(last.branch, y)
    expected = net.head(F.relu(nn.GroupNorm(1, 6)(y)).mean((2, 3)))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [4]}, "channels: expected one number per stage, 2 as in depths, came 1"),
        ({"expansion": 4}, "expansion: expected 1 with basic blocks, came 4"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, message: str) -> None:
    given = {"depths": [1, 1], "channels": [4, 4], "block": "basic"} | options
    with pytest.raises(ValueError, match=message):
        IENet(classes=3, in_channels=1, **given)
