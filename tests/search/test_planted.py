"""A planted optimum: two textures with the same histogram, which of four operations only one can tell apart."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.backbones.cell_net import Style
from advarch.backbones.chain import Chain
from advarch.backbones.dilated_supernet import DilatedSupernet
from advarch.backbones.supernet import MixedCell
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.genotype.space import Space
from advarch.search.architecture import LogNormalWeights, Softmax
from advarch.search.darts import Darts
from advarch.search.method import Batches
from advarch.search.nadar import Nadar
from advarch.search.racl import Racl
from advarch.threat import Threat
from advarch.types import Batch
from tests.search.small import ATTACK, at

SPACE = Space(("none", "avg_pool_3x3", "skip_connect", "max_pool_3x3"), nodes=1, layout="shared")


class OneCell(nn.Module):
    """Image, one cell, average over the map, less its mean over the batch, linear head. The cell's inputs are the image itself.

    Pixels of both textures have the same histogram, so whatever looks at pixels one by one (skip) sees no difference on
    average; nor does a mean over windows (average pooling), for the mean of it all is the same. A maximum over windows does.
    """

    def __init__(self, arch) -> None:
        super().__init__()
        self.space, self.kinds, self.arch = SPACE, [0], arch(SPACE)
        self.cell = MixedCell(
            SPACE, in_channels=(1, 1), channels=1, older_is_larger=False, reduction=False,
            style=Style(False, "relu", None), partial_channels=1, pool_norm=False,
        )  # fmt: skip
        self.cell.inputs = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.head = nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        mixing = self.arch()
        inputs = None if mixing.inputs is None else mixing.inputs[0]
        features = self.cell(x, x, mixing.operations[0], inputs).mean((2, 3))
        return self.head(10 * (features - features.mean(0)))

    def operations(self) -> list[nn.Module]:
        return [op for edge in self.cell.edges for op in edge.operations]

    def weights(self) -> list[nn.Parameter]:
        return [p for name, p in self.named_parameters() if not name.startswith("arch.")]


class Faint(nn.Module):
    """A backbone that sees the difference, but faintly: what it learns is which way it points."""

    def __init__(self, *, classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer, self.head = nn.MaxPool2d(3, 1, 1), nn.Linear(in_channels, classes)

    def classify(self, x: Tensor) -> Tensor:
        features = x.mean((2, 3))
        return self.head(10 * (features - features.mean(0)))

    def chain(self) -> Chain:
        return Chain(lambda x: 0.2 * x, [self.layer], self.classify)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.layer(0.2 * x))


def dilated_cell(arch) -> DilatedSupernet:
    """The same cell beside that backbone."""
    net = DilatedSupernet(
        classes=2, in_channels=1, base=Faint, space=SPACE, arch=arch, cells=1, partial_channels=1, pool_norm=False
    )  # fmt: skip
    net.hybrid.dilation[0].cells[0].cell.inputs = nn.ModuleList([nn.Identity(), nn.Identity()])
    return net


def textures(count: int, seed: int) -> Batch:
    """Bright pixels on a quarter of the map: alone, one in each 2x2 window, or together in one quarter."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (count,), generator=generator)
    fine = F.pad(torch.ones(4, 4, 1, 1), (0, 1, 0, 1)).permute(0, 2, 1, 3).reshape(8, 8)
    coarse = F.pad(torch.ones(4, 4), (2, 2, 2, 2))
    # The pattern is rolled about; a torus has no border that would tell.
    shifts = torch.randint(8, (count, 2), generator=generator)
    maps = [
        torch.roll(fine if label else coarse, tuple(s), (0, 1))
        for label, s in zip(y, shifts.tolist(), strict=True)
    ]
    return Batch(0.2 + 0.6 * torch.stack(maps)[:, None], y, torch.arange(count))


def searched(method, steps: int, weight_lr: float = 0.5, arch_lr: float = 0.2):
    groups = method.parameters()
    optimizers = {
        "weights": torch.optim.SGD(groups["weights"], lr=weight_lr, momentum=0.9),
        "arch": torch.optim.Adam(groups["arch"], lr=arch_lr, betas=(0.5, 0.999)),
    }
    for step in range(steps):
        given = Batches(textures(8, 2 * step), textures(8, 2 * step + 1))
        method.step(given, optimizers, at(step))
    return method.derive(at(steps))


# At weight 1 the gradient norm outweighs the cross entropy of a problem as small as this one.
RACL = partial(Racl, warmup=2, gradient_norm=0.1)
EDGES = partial(Softmax, edges=True)
METHODS = {
    "darts": lambda: Darts(OneCell(Softmax), defense=natural, attack=ATTACK),
    "darts, second order": lambda: Darts(OneCell(Softmax), defense=natural, attack=ATTACK, order="second"),
    "pc_darts, adversarial": lambda: Darts(OneCell(EDGES), defense=pgd_at, attack=ATTACK),
    "racl": lambda: RACL(OneCell(LogNormalWeights)),
    "racl, Eq. 10": lambda: RACL(OneCell(partial(LogNormalWeights, spread=False))),
    "nadar": lambda: Nadar(
        dilated_cell(EDGES), threat=Threat("inf", 0.1), step_size=0.1, replays=2, tau=0.0, warmup=0
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_the_planted_cell_in_five_of_five_seeds(name: str) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        genotype = searched(METHODS[name](), steps=20)
        assert {edge.op for edge in genotype.cells[0].nodes[0]} == {"max_pool_3x3"}, seed


def test_no_other_operation_separates_the_textures() -> None:
    batch, edge = textures(32, 0), OneCell(Softmax).cell.edges[0]
    for number, op in enumerate(SPACE.operations[1:], 1):
        seen = edge(batch.x, tuple(n == number for n in range(4))).mean((1, 2, 3))
        ones, zeros = seen[batch.y == 1], seen[batch.y == 0]
        if op == "max_pool_3x3":
            assert ones.min() - zeros.max() > 0.25
        else:
            assert zeros.min() - 1e-6 <= ones.min() and ones.max() <= zeros.max() + 1e-6
