"""A planted optimum for the one-shot ranking: of 15 sub-networks one alone stands an attack that no other does."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.objectives import margin
from advarch.attacks.pgd import pgd
from advarch.backbones.cell_net import Style
from advarch.backbones.supernet import MixedCell
from advarch.defenses.pgd_at import pgd_at
from advarch.genotype.space import Space
from advarch.noise import ExampleGenerator
from advarch.search.architecture import Path
from advarch.search.method import Batches
from advarch.search.one_shot import judged
from advarch.search.robnet import RobNet
from advarch.threat import Threat
from advarch.types import Batch
from tests.search.small import at
from tests.search.test_planted import textures

SPACE = Space(("none", "skip_connect", "max_pool_3x3"), nodes=1, inputs=None, layout="shared")
WEAK = partial(pgd, threat=Threat("inf", 0.02), steps=2, step_size=0.02)
STRONG = partial(pgd, threat=Threat("inf", 0.08), steps=2, step_size=0.08, objective=margin)


class TwoInputs(nn.Module):
    """One cell, average over the map, less its mean over the batch, linear head. The older input is noise, the newer the texture.

    A maximum over windows sees 0.26 between the textures. An attack moves the maxima of each class by 0.08 towards the other's,
    and 0.16 < 0.26; with the identity beside them it moves 0.32. Noise drowns what it is added to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.space, self.kinds, self.arch = SPACE, [0], Path(SPACE)
        self.cell = MixedCell(
            SPACE, in_channels=(1, 1), channels=1, older_is_larger=False, reduction=False,
            style=Style(False, "relu", None), partial_channels=1, pool_norm=False,
        )  # fmt: skip
        self.cell.inputs = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.head = nn.Linear(1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = self.cell(x[:, 1:], x[:, :1], self.arch().operations[0], None).mean((2, 3))
        return self.head(10 * (features - features.mean(0)))

    def weights(self) -> list[nn.Parameter]:
        return list(self.head.parameters())


def noisy(count: int, seed: int) -> Batch:
    """Textures, and beside each a grey map that says nothing of it."""
    x, y, index = textures(count, seed)
    grey = 0.25 + 0.5 * torch.rand(
        count, 1, 1, 1, generator=torch.Generator().manual_seed(seed + 1)
    ).expand_as(x)
    return Batch(torch.cat([x, grey], 1), y, index)


def robust(net: nn.Module, batch: Batch) -> float:
    x_adv = STRONG(net, batch.x, batch.y, generator=ExampleGenerator(0, batch.index))
    return float((net(x_adv).argmax(1) == batch.y).float().mean())


@pytest.mark.slow
def test_the_ranking_with_shared_weights_finds_the_planted_cell_in_five_of_five_seeds() -> None:
    cells = list(SPACE.enumerate())
    for seed in range(5):
        torch.manual_seed(seed)
        method = RobNet(TwoInputs(), defense=pgd_at, attack=WEAK)
        optimizer = torch.optim.SGD(method.parameters()["weights"], lr=0.02, momentum=0.9)
        for step in range(80):
            batch = noisy(32, 1000 * seed + step)
            method.step(Batches(batch, batch), {"weights": optimizer}, at(step))
        found = judged(method.supernet, cells, partial(robust, batch=noisy(64, 7)))
        best, second = sorted(range(len(cells)), key=lambda n: -found[n])[:2]
        assert {*cells[best].cells[0].nodes[0]} == {("max_pool_3x3", 1)}, (seed, found)
        assert found[best] - found[second] > 0.1, (seed, found)
