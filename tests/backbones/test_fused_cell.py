"""The fused cells that are attacked in a supernet's place: its equal in logits and input gradients."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.objectives import cross_entropy
from advarch.backbones.fused_cell import FusedCell, fused, obstacle
from advarch.backbones.supernet import Supernet
from advarch.genotype.space import DARTS_OPERATIONS, Space
from advarch.layers.normalisation import Normalise
from advarch.modes import attack_mode
from advarch.search.architecture import LogNormalWeights, Path, Softmax
from advarch.threat import input_gradient
from tests.backbones.lived_in import lived_in
from tests.search.small import dilated_supernet

DARTS = Space(DARTS_OPERATIONS, nodes=2)
FREE = Space(("none", "sep_conv_3x3"), nodes=1, inputs=None)
EDGES = partial(Softmax, edges=True, std=1.0)
FUSABLE = ("relu", "silu", "swish", "gelu", "elu", "softplus", "mish", "leaky_relu")


def supernet(space: Space = DARTS, arch=EDGES, **options) -> Supernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {"cells": 3, "channels": 4} | options
        return lived_in(Supernet(classes=3, in_channels=2, space=space, arch=arch, **options).double())


def images(*shape: int) -> Tensor:
    return torch.rand(
        *(shape or (2, 2, 9, 7)), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def assert_equal(net: nn.Module, x: Tensor | None = None) -> None:
    """The same logits and input gradients, within a share of the largest of each."""
    x = images() if x is None else x
    assert obstacle(net) is None
    with attack_mode(net):
        made = fused(net)
        assert any(isinstance(module, FusedCell) for module in made.modules())
        for _ in range(2):
            pairs = zip(
                *(input_gradient(each, x, torch.arange(2), cross_entropy) for each in (made, net)),
                strict=True,
            )
            for found, expected in pairs:
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
                assert expected.any()


@pytest.mark.parametrize("partial_channels", [1, 2, 4])
def test_logits_and_gradients_are_the_supernet_s(partial_channels: int) -> None:
    assert_equal(supernet(partial_channels=partial_channels))
    assert_equal(
        supernet(partial_channels=partial_channels, affine=True, pool_norm=False), images(2, 2, 8, 8)
    )


@pytest.mark.parametrize("activation", FUSABLE)
def test_with_every_activation_that_has_no_parameter(activation) -> None:
    assert_equal(
        supernet(Space(("sep_conv_3x3", "skip_connect"), nodes=1), activation=activation, affine=True)
    )


def test_without_weighed_edges_with_drawn_weights_and_with_checkpoints() -> None:
    small = Space(("none", "avg_pool_3x3", "dil_conv_3x3"), nodes=1)
    assert_equal(supernet(small, Softmax, partial_channels=2))
    net = supernet(small, LogNormalWeights, checkpointing=True)
    net.arch.draw(torch.Generator().manual_seed(3))
    assert_equal(net)


def test_a_supernet_behind_a_normalisation_is_fused() -> None:
    assert_equal(nn.Sequential(Normalise([0.4, 0.5], [0.2, 0.3]), supernet()).double())


def test_under_autocast_it_is_as_near_to_full_precision_as_the_network() -> None:
    net, x = supernet(Space(("sep_conv_3x3", "max_pool_3x3"), nodes=1)).float(), images().float()
    with attack_mode(net):
        exact, _ = input_gradient(net, x, torch.arange(2), cross_entropy)
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = input_gradient(fused(net), x, torch.arange(2), cross_entropy)
            rounded, _ = input_gradient(net, x, torch.arange(2), cross_entropy)
        # A backward pass outside of it, as on a GPU.
        with torch.autocast("cpu", torch.bfloat16):
            logits = fused(net)(leaf := x.clone().requires_grad_())
        (late,) = torch.autograd.grad(cross_entropy(logits, torch.arange(2)).sum(), leaf)
    bound = 2 * (rounded - exact).norm()
    assert 0 < (found - exact).norm() < bound and (late - exact).norm() < bound


def test_the_network_stays_as_it_is_and_weights_are_read_anew_for_each_attack() -> None:
    net = supernet()
    with attack_mode(net):
        before, x = list(net.modules()), images()
        made = fused(net)
        first = made(x)
        with torch.no_grad():
            net.arch.alpha.add_(torch.randn(net.arch.alpha.shape, dtype=torch.float64))
            net.cells[1].edges[0].operations[4][1].weight.mul_(2)
        torch.testing.assert_close(made(x), first, rtol=0, atol=1e-9)
        torch.testing.assert_close(fused(net)(x), net(x), rtol=0, atol=1e-9)
        assert not torch.allclose(net(x), first, atol=1e-4) and list(net.modules()) == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda: supernet(activation="prelu"), "PReLU can't be fused"),
        (lambda: supernet(activation="smooth_relu"), "SmoothReLU can't be fused"),
        (lambda: supernet(Space(("conv_7x1_1x7",), nodes=1)), "factorised convolutions can't be fused"),
        (lambda: hooked(supernet()), "a hook looks at MaxPool2d"),
        (lambda: without_norm(supernet()), "a normalisation is left out"),
        (lambda: supernet(FREE, Path), "chosen operations are no cheaper fused"),
        (dilated_supernet, "only the cells of a Supernet can be fused"),
    ],
)
def test_what_can_t_be_fused_is_said(spoil, said: str) -> None:
    assert obstacle(spoil()) == said


def hooked(net: Supernet) -> Supernet:
    net.cells[0].edges[0].operations[1][0].register_forward_hook(print)
    return net


def without_norm(net: Supernet) -> Supernet:
    net.cells[0].edges[0].operations[4][3] = nn.Identity()
    return net
