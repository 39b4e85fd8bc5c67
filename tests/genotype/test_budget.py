"""Budgets: bounds by hand, every draw within, all cells within drawn alike."""

import math
from collections import Counter
from random import Random

import pytest

from advarch.errors import InputError
from advarch.genotype.budget import Budget, draw
from advarch.genotype.measures import convolutions, density, direct_edge_share
from advarch.genotype.published import published
from advarch.genotype.space import ROBNET_OPERATIONS, Space

ROBNET = Space(ROBNET_OPERATIONS, inputs=None, layout="shared")
BUDGETS = {"small": (0, 7), "medium": (8, 10), "large": (11, 14)}


def test_robnet_large_by_hand() -> None:
    # 13 convolutions and 9 identities on 28 places; 3 of its 4 direct edges convolve, 3 of its 13 convolutions are direct.
    (cell,) = published("robnet_large").cells
    assert Budget((13, 13), density=22 / 28, direct=0.74).admits(cell)
    assert not Budget((11, 12)).admits(cell) and not Budget((14, 14)).admits(cell)
    assert not Budget(density=0.79).admits(cell)
    assert not Budget(direct=0.75).admits(cell)
    assert Budget(direct=0.23, direct_of="convolutions").admits(cell)
    assert not Budget(direct=0.24, direct_of="convolutions").admits(cell)


@pytest.mark.parametrize("name", BUDGETS)
def test_every_draw_is_within_its_budget(name: str) -> None:
    budget, random = Budget(BUDGETS[name], density=0.5, direct=0.5), Random(0)
    fewest, most = BUDGETS[name]
    for _ in range(10):
        (cell,) = draw(ROBNET, budget, random).cells
        assert fewest <= convolutions(cell) <= most
        assert density(cell) >= 0.5 and direct_edge_share(cell) > 0.5


def test_cells_within_are_drawn_alike() -> None:
    space = Space(("skip_connect", "sep_conv_3x3", "dil_conv_3x3"), nodes=1, inputs=None, layout="shared")
    budget, random = Budget((1, 2), density=0.5, direct=0.5), Random(0)
    within = {genotype.digest for genotype in space.enumerate() if budget.admits(genotype.cells[0], 3)}
    counts = Counter(draw(space, budget, random).digest for _ in range(40 * len(within)))
    assert 4 < len(within) < space.size and set(counts) == within
    freedom = len(within) - 1
    assert sum((count - 40) ** 2 / 40 for count in counts.values()) < freedom + 5 * math.sqrt(2 * freedom)


def test_cell_free_networks_have_every_cell_within() -> None:
    space = Space(ROBNET_OPERATIONS, inputs=None, layout="each", places=3)
    found = draw(space, Budget((0, 7)), Random(0), "free")
    assert space.contains(found) and found.name == "free" and len(set(found.cells)) == 3
    assert all(convolutions(cell) <= 7 for cell in found.cells)


def test_budgets_that_hold_nothing_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="convolutions: expected fewest and most"):
        Budget((3, 2))
    monkeypatch.setattr("advarch.genotype.budget.TRIES", 50)
    # The paper's rule as printed: 8 convolutions, of which more than half lie on 4 edges.
    with pytest.raises(InputError, match="budget: expected one that some cells of the space are within"):
        draw(ROBNET, Budget((8, 10), direct=0.5, direct_of="convolutions"), Random(0))
