"""Entropies against closed forms."""

import math

import pytest
import torch

from advarch.genotype.space import Space
from advarch.layers.mixed_op import Mixing
from advarch.search.architecture import Path
from advarch.search.entropy import entropies

SPACE = Space(("skip_connect", "avg_pool_3x3", "max_pool_3x3", "sep_conv_3x3"), nodes=2, layout="shared")


def test_equal_weights_have_the_logarithm_of_their_number_and_a_single_one_none() -> None:
    even, decided = torch.full((1, 5, 4), 7.0), torch.eye(4)[torch.tensor([[0, 1, 2, 3, 0]])]
    # Two edges into the first node, three into the second.
    found = entropies(SPACE, Mixing(even, torch.ones(1, 5)))
    assert found["entropy"] == pytest.approx(math.log(4))
    assert found["entropy_inputs"] == pytest.approx((math.log(2) + math.log(3)) / 2)
    assert entropies(SPACE, Mixing(decided)) == {"entropy": 0.0}


def test_weights_count_by_their_share_and_edges_alike() -> None:
    weights = torch.zeros(1, 5, 4)
    weights[..., 0], weights[0, 0, 1] = 3.0, 1.0
    two = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert entropies(SPACE, Mixing(weights))["entropy"] == pytest.approx(two / 5)


def test_a_path_of_whole_operations_has_no_entropy() -> None:
    assert entropies(SPACE, Path(SPACE)()) == {}
