"""Which cells are tried: random search draws different ones, the oracle takes all, neither takes more than there are."""

from functools import partial
from random import Random

import pytest

from advarch.errors import InputError
from advarch.genotype.measures import convolutions, direct_edge_share
from advarch.genotype.space import DARTS_OPERATIONS, Space
from advarch.search.candidates import every, uniform, within_budget

SMALL = Space(("none", "skip_connect", "sep_conv_3x3"), nodes=2, inputs=1, layout="shared")


def test_random_search_draws_different_cells_of_the_space_the_same_ones_for_a_seed() -> None:
    drawn = uniform(SMALL, random=Random(4), count=10)
    assert len({genotype.digest for genotype in drawn}) == len({genotype.name for genotype in drawn}) == 10
    assert all(map(SMALL.contains, drawn))
    assert drawn == uniform(SMALL, random=Random(4), count=10) != uniform(SMALL, random=Random(5), count=10)


def test_every_cell_is_as_likely_as_any_other() -> None:
    random, counts = Random(0), dict.fromkeys((cell.digest for cell in SMALL.enumerate()), 0)
    for _ in range(600):
        for genotype in uniform(SMALL, random=random, count=4):
            counts[genotype.digest] += 1
    # 100 expected of each of 24 cells, with a standard deviation of 9.1.
    assert min(counts.values()) > 60 and max(counts.values()) < 140


def test_random_search_may_draw_the_whole_space_but_no_more() -> None:
    assert len(uniform(SMALL, random=Random(0), count=24)) == SMALL.size == 24
    with pytest.raises(
        InputError, match=r"^count: expected at most 24, the cells of this space, came 25; lower it"
    ):
        uniform(SMALL, random=Random(0), count=25)


def test_the_oracle_takes_every_cell_once() -> None:
    assert every(SMALL, random=Random(0)) == list(SMALL.enumerate())
    assert len({genotype.digest for genotype in every(SMALL, random=Random(0))}) == SMALL.size


def test_the_oracle_refuses_a_large_space() -> None:
    with pytest.raises(
        InputError, match=r"^limit: expected a space of at most 200 cells .* came one of 1,037,664,180"
    ) as caught:
        every(Space(DARTS_OPERATIONS, layout="shared"), random=Random(0))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="at most 23 cells"):
        every(SMALL, random=Random(0), limit=23)


def test_within_a_budget_all_differ_and_there_are_no_more_than_there_are() -> None:
    within = partial(within_budget, SMALL, random=Random(0), convolutions=[1, 1], direct=0.0)
    # One convolution, on a direct edge, 1-2 or 2-3; the other node has an identity from one of 3 or 2 sources.
    drawn = within(count=5)
    assert len({genotype.digest for genotype in drawn}) == len({genotype.name for genotype in drawn}) == 5
    for genotype in drawn:
        assert convolutions(genotype.cells[0]) == 1 and direct_edge_share(genotype.cells[0]) > 0
    with pytest.raises(InputError, match=r"^count: expected at most 5, the networks met within the budget"):
        within(count=6)
