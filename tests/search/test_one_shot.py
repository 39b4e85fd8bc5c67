"""Sub-networks with shared weights: as the discrete network is judged; batch statistics in closed form; the flow's threshold."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from advarch.backbones.cell_net import CellNet
from advarch.backbones.supernet import inherited
from advarch.errors import InputError
from advarch.genotype.space import ROBNET_OPERATIONS, Space
from advarch.genotype.stored import to_plain
from advarch.metrics.fsp import fsp
from advarch.search.architecture import Path
from advarch.search.one_shot import by_flow, flow, flowing, judged
from advarch.types import Batch
from tests.search.small import ATTACK, batches, supernet

SPACE = Space(ROBNET_OPERATIONS, nodes=1, inputs=None, layout="shared")
CELLS = list(SPACE.enumerate())


def trained():
    """A supernet whose running statistics every operation has moved."""
    net = supernet(Path, space=SPACE).train()
    net(batches(1).weights.x)
    return net.eval()


def test_every_path_is_judged_as_its_discrete_network_and_the_supernet_stays() -> None:
    net, (x, y, _) = trained(), batches().weights
    before = {name: value.clone() for name, value in net.state_dict().items()}
    chosen = CELLS[:: len(CELLS) // 3]
    found = judged(net, chosen, lambda model: fsp(model, x, y, attack=ATTACK, deepest=2).table["distance"])
    for genotype, distances in zip(chosen, found, strict=True):
        twin = CellNet(
            classes=2, in_channels=1, genotype=to_plain(genotype), cells=3, channels=2, affine=False
        )
        twin.load_state_dict(inherited(net, genotype))
        expected = fsp(twin.eval(), x, y, attack=ATTACK, deepest=2).table["distance"]
        assert distances == pytest.approx(expected, rel=1e-4) and min(distances) > 0
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.arch() == Path(SPACE)()


def test_statistics_measured_anew_are_the_moments_of_all_images_on_that_path() -> None:
    net, x = trained(), torch.cat([batch.x for batch in batches(3)])
    parts = [Batch(part, torch.zeros(len(part)), torch.zeros(len(part))) for part in x.split(4)]

    def first_norms(model):
        return {name: value.clone() for name, value in model.state_dict().items() if "running" in name}

    stale, fresh = (judged(net, CELLS[:1], first_norms, batches=given)[0] for given in (None, parts))
    # The stem's norm sees the convolved images whatever the path: the mean of the batches' moments is that of all images.
    seen = net.stems[0][0](x).detach().double().transpose(0, 1).flatten(1)
    (mean, variance) = (f"stems.0.1.running_{what}" for what in ("mean", "var"))
    assert_close(fresh[mean].double(), seen.mean(1), rtol=1e-5, atol=1e-6)
    assert_close(fresh[variance].double(), seen.var(1), rtol=1e-5, atol=1e-6)
    assert not torch.equal(stale[mean], fresh[mean])
    # What the path leaves out isn't measured. The first cell of the enumeration is one identity.
    off = [name for name in fresh if "cells.0.edges" in name]
    assert off and all(torch.equal(stale[name], fresh[name]) for name in off)


def test_candidates_whose_flow_moves_too_far_are_rejected() -> None:
    distances = [0.004, 0.007, 0.006, 0.0061, 0.0]
    assert flowing(distances) == [0, 2, 4]
    assert flowing(distances, threshold=0.001) == [4]
    assert flowing(distances, threshold=None, share=0.4) == [0, 4]
    assert flowing(distances, threshold=None, share=0.01) == [4]
    assert len(flowing([0.1 * n for n in range(300)], threshold=None)) == 68


def test_the_flow_of_every_cell_is_that_of_the_first_images() -> None:
    net, (first, second) = trained(), batches()
    net.arch.choose(CELLS[0])
    x, y = torch.cat([first.x, second.x])[:8], torch.cat([first.y, second.y])[:8]
    expected = fsp(net, x, y, attack=ATTACK, seed=3).table["distance"]
    assert flow(net, [first, second], attack=ATTACK, images=8, seed=3) == pytest.approx(expected)


def test_the_gate_keeps_the_paths_of_small_distance() -> None:
    net, given = trained(), batches()
    gate = partial(
        by_flow, net, [given.weights, given.arch], genotypes=CELLS[:6], attack=ATTACK, deepest=1, images=8
    )
    x, y = (torch.cat([one[:6], two[:2]]) for one, two in zip(given.weights[:2], given.arch[:2], strict=True))
    distances = judged(
        net, CELLS[:6], lambda model: fsp(model, x, y, attack=ATTACK, deepest=1).numbers["deep"]
    )
    middle = sorted(distances)[2]
    expected = [
        genotype for genotype, distance in zip(CELLS[:6], distances, strict=True) if distance <= middle
    ]
    assert gate(threshold=middle) == gate(threshold=None, share=0.5) == expected
    moved = [genotype for genotype, distance in zip(CELLS[:6], distances, strict=True) if distance > 0]
    with pytest.raises(InputError, match="threshold: expected one that some candidates are below, came 0"):
        gate(threshold=0, genotypes=moved)
