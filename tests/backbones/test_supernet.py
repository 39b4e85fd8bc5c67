"""Supernets: one path is the discrete network, the relaxed cell is the printed sum, checkpointing changes nothing."""

import copy
from random import Random

import pytest
import torch
from torch import Tensor, nn

from advarch.backbones.cell_net import CellNet
from advarch.backbones.supernet import MixedCell, Supernet, inherited
from advarch.errors import InputError
from advarch.genotype.cell import Genotype
from advarch.genotype.space import DARTS_OPERATIONS, ROBNET_OPERATIONS, Space
from advarch.genotype.stored import to_plain
from advarch.layers.mixed_op import Mixing
from advarch.search.architecture import LogNormalWeights, Path, Softmax

TWO = Space(("none", "skip_connect", "avg_pool_3x3", "dil_conv_3x3"), nodes=2)
SPACES = {
    "darts": Space(DARTS_OPERATIONS, nodes=3),
    "robnet": Space(ROBNET_OPERATIONS, nodes=2, inputs=None, layout="shared"),
    "cell-free": Space(ROBNET_OPERATIONS, nodes=2, inputs=None, layout="each", places=3),
}


def supernet(space: Space = TWO, arch=Softmax, seed: int = 0, **options) -> Supernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"cells": 3, "channels": 4} | options
        return Supernet(classes=3, in_channels=2, space=space, arch=arch, **options)


def images() -> Tensor:
    return torch.rand(4, 2, 9, 8, generator=torch.Generator().manual_seed(1))


def discrete(net: Supernet, genotype: Genotype, affine: bool) -> CellNet:
    options = {"cells": len(net.cells), "channels": 4, "affine": affine}
    made = CellNet(classes=3, in_channels=2, genotype=to_plain(genotype), **options)
    made.load_state_dict(inherited(net, genotype))
    return made


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_restricted_to_one_path_it_is_the_discrete_network_with_its_weights(
    name: str, training: bool
) -> None:
    affine = name == "darts"
    net = supernet(SPACES[name], Path, pool_norm=False, affine=affine).train()
    net(images())
    genotype = SPACES[name].sample(Random(2))
    twin = discrete(net, genotype, affine).train(training)
    net.train(training).arch.choose(genotype)
    torch.testing.assert_close(net(images()), twin(images()), rtol=0, atol=1e-6)
    # The running statistics of the path move as those of the network do, the others stay.
    torch.testing.assert_close(inherited(net, genotype), dict(twin.state_dict()), rtol=1e-5, atol=1e-6)


def test_weights_of_one_and_zero_are_the_path_too() -> None:
    net = supernet(pool_norm=False).eval()
    genotype = TWO.sample(Random(0))
    ones = torch.zeros_like(net.arch.alpha)
    for kind, cell in enumerate(genotype.cells):
        for target, (op, source) in cell.edges:
            ones[kind, TWO.edges.index((source, target)), TWO.operations.index(op)] = 1
    net.arch.forward = lambda: Mixing(ones)
    twin = discrete(net, genotype, False).eval()
    torch.testing.assert_close(net(images()), twin(images()), rtol=0, atol=1e-6)


def test_a_relaxed_cell_is_the_printed_sum() -> None:
    net = supernet(arch=lambda space: Softmax(space, edges=True, std=1.0), partial_channels=2)
    cell, mixing = net.cells[0], net.arch()
    assert isinstance(cell, MixedCell)
    older, newer = torch.rand(2, 3, 12, 5, 5, generator=torch.Generator().manual_seed(2))
    nodes = [cell.inputs[0](older), cell.inputs[1](newer)]
    for target in (2, 3):
        edges = [(e, source) for e, (source, to) in enumerate(TWO.edges) if to == target]
        beta = torch.stack([net.arch.beta[0, e] for e, _ in edges]).exp()
        nodes.append(
            sum(
                b / beta.sum() * cell.edges[e](nodes[source], net.arch.alpha[0, e].softmax(0))
                for b, (e, source) in zip(beta, edges, strict=True)
            )
        )
    found = cell(older, newer, mixing.operations[0], mixing.inputs[0])
    torch.testing.assert_close(found, torch.cat(nodes[2:], 1))


@pytest.mark.parametrize("arch", [Softmax, LogNormalWeights])
def test_checkpointing_changes_neither_gradients_nor_statistics(arch) -> None:
    one, two = (supernet(arch=arch, checkpointing=flag).train() for flag in (False, True))
    for net in (one, two):
        x = images().requires_grad_()
        (slope,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
        (net(images()).sum() + slope.square().sum()).backward()
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    assert all(m.momentum == 0.1 for m in two.modules() if isinstance(m, nn.BatchNorm2d))


def test_architecture_parameters_are_registered_saved_and_apart_from_the_weights() -> None:
    net = supernet(arch=lambda space: Softmax(space, edges=True))
    own = {"arch.alpha": (2, 5, 4), "arch.beta": (2, 5)}
    assert {n: tuple(p.shape) for n, p in net.named_parameters() if n.startswith("arch")} == own
    every = {id(p) for p in net.parameters()}
    assert {id(p) for p in net.weights()} == every - {id(p) for p in net.arch.parameters()}
    again = supernet(arch=lambda space: Softmax(space, edges=True), seed=1)
    again.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(again.eval()(images()), net.eval()(images()))
    net.train()(images()).square().sum().backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # Nothing follows the reduction's last batch normalisation that a constant could change, and zero has no part.
    assert missing == []


def test_kinds_and_operations_come_in_the_order_of_the_places() -> None:
    net = supernet(cells=6)
    assert net.kinds == [0, 0, 1, 0, 1, 0]
    assert len(net.operations()) == 6 * 5 * 4
    assert net.operations()[5 * 4 + 4 + 3] is net.cells[1].edges[1].operations[3]
    assert supernet(SPACES["cell-free"], Path).kinds == [0, 1, 2]


def test_what_does_not_fit_is_explained() -> None:
    with pytest.raises(InputError, match="channels: expected a multiple of partial_channels=3, came 4"):
        supernet(partial_channels=3)
    with pytest.raises(InputError, match="cells: expected 3, the places of the space, came 4"):
        supernet(SPACES["cell-free"], Path, cells=4)
    with pytest.raises(InputError, match="partial_channels: expected 1 to inherit weights, came 2"):
        inherited(supernet(partial_channels=2), TWO.sample(Random(0)))
    with pytest.raises(InputError, match="genotype: expected one of the supernet's space"):
        inherited(supernet(), SPACES["darts"].sample(Random(0)))
