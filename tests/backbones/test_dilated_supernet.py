"""NADAR's supernet: Eq. 2 written plainly, one path is the hybrid that is retrained, where cells stand and what they cost."""

from random import Random

import pytest
import torch
from torch import Tensor

from advarch.backbones.chain import split
from advarch.backbones.dilated import Dilated, dilated
from advarch.backbones.supernet import inherited
from advarch.errors import InputError
from advarch.genotype.cell import Genotype
from advarch.genotype.space import DARTS_OPERATIONS, Space
from advarch.genotype.stored import to_plain
from advarch.search.architecture import Path
from tests.search.small import SHARED, Backbone, dilated_supernet

SPACES = {
    "shared": Space(DARTS_OPERATIONS, nodes=2, layout="shared"),
    "normal and reduction": Space(DARTS_OPERATIONS, nodes=2),
    "a cell for each block": Space(DARTS_OPERATIONS, nodes=2, layout="each", places=2),
}


def images(side: int = 7) -> Tensor:
    return torch.rand(4, 1, side, side, generator=torch.Generator().manual_seed(1))


def discrete(net, genotype: Genotype, affine: bool) -> Dilated:
    made = dilated(classes=2, in_channels=1, base=Backbone, genotype=to_plain(genotype), cells=2)
    if not affine:
        for module in made.dilation.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight = module.bias = None
    made.load_state_dict(inherited(net, genotype))
    return made


def test_the_hybrid_is_backbone_and_mixed_cells_summed_block_by_block() -> None:
    net = dilated_supernet().eval()
    x, base, mixing = images(), net.base, net.arch()

    def cell(block: int, at: int, older: Tensor, newer: Tensor) -> Tensor:
        return net.hybrid.dilation[block].cells[at].cell(older, newer, mixing.operations[0], mixing.inputs[0])

    z0 = base.stem(x)
    z1 = base.layers[0](z0) + cell(0, 1, z0, cell(0, 0, z0, z0))
    z2 = base.layers[1](z1) + cell(1, 1, z1, cell(1, 0, z0, z1))
    torch.testing.assert_close(net(x), base.head(z2.mean((2, 3))))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_restricted_to_one_path_it_is_the_hybrid_with_its_weights(name: str, training: bool) -> None:
    space, affine = SPACES[name], name == "shared"
    net = dilated_supernet(Path, space=space, pool_norm=False, affine=affine).train()
    net(images())
    genotype = space.sample(Random(2))
    twin = discrete(net, genotype, affine).train(training)
    net.train(training).arch.choose(genotype)
    torch.testing.assert_close(net(images()), twin(images()), rtol=0, atol=1e-6)
    torch.testing.assert_close(inherited(net, genotype), dict(twin.state_dict()), rtol=1e-5, atol=1e-6)


def test_undilated_it_is_the_backbone_until_the_context_ends() -> None:
    net = dilated_supernet().eval()
    whole = net(images())
    with pytest.raises(RuntimeError), net.undilated():
        assert torch.equal(net(images()), net.base(images()))
        raise RuntimeError
    assert torch.equal(net(images()), whole) and not torch.allclose(net.base(images()), whole)


@pytest.mark.parametrize("side", [7, 8, 9])
def test_every_cell_is_on_the_map_it_says(side: int) -> None:
    net = dilated_supernet()
    seen = []
    for dilation in net.hybrid.dilation:
        for placed in dilation.cells:
            placed.register_forward_pre_hook(lambda _, given: seen.append(given[1].shape[-1]))
    net(images(side))
    assert net.sides(side) == seen == [side, side, side, -(-side // 2)]
    assert [tuple(place) for place in net.places] == [
        (0, 2, False),
        (0, 2, False),
        (1, 4, True),
        (1, 4, False),
    ]
    assert dilated_supernet(space=SPACES["normal and reduction"]).kinds == [0, 0, 1, 0]
    assert dilated_supernet(space=SPACES["a cell for each block"]).kinds == [0, 0, 1, 1]


def test_weights_and_architecture_are_apart_and_checkpointing_changes_no_gradient() -> None:
    one, two = (dilated_supernet(checkpointing=flag).train() for flag in (False, True))
    every = {id(p) for p in one.parameters()}
    assert {id(p) for p in one.weights()} == every - {id(p) for p in one.arch.parameters()}
    assert len(one.operations()) == 4 * len(SHARED.edges) * len(SHARED.operations)
    for net in (one, two):
        net(images()).square().sum().backward()
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


def test_what_does_not_fit_is_explained() -> None:
    with pytest.raises(InputError, match="base: expected blocks of a multiple of 6 channels, 2 nodes times"):
        dilated_supernet(partial_channels=3)
    with pytest.raises(InputError, match=r"space\.places: expected 2, the backbone's blocks, came 3"):
        dilated_supernet(space=Space(DARTS_OPERATIONS, layout="each", places=3))
    with pytest.raises(InputError, match="partial_channels: expected 1 to inherit weights, came 2"):
        inherited(dilated_supernet(partial_channels=2), SHARED.sample(Random(0)))
    assert len(split(Backbone(classes=2, in_channels=1), 1).blocks) == 2
