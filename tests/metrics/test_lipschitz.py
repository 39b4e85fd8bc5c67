"""Empirical Lipschitz constants against those of linear maps, which are known, and stability against counting."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advarch.metrics.lipschitz import lipschitz, quotients


class Shifted:
    """Moves every image by the same step, whatever the network."""

    def __init__(self, step: Tensor) -> None:
        self.step = step

    def __call__(self, model: Any, x: Tensor, y: Tensor, /, **kwargs: Any) -> Tensor:
        return x + self.step


class Part(nn.Module):
    """A linear map with a part of its own, so that it counts as a block."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(*reversed(weight.shape), bias=False)
        self.linear.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


def two_maps() -> tuple[Tensor, Tensor, nn.Module]:
    first, second = torch.tensor([[1.0, -2.0], [3.0, 1.0]]), torch.tensor([[2.0, 0.0], [-1.0, 1.0]])
    return first, second, nn.Sequential(Part(first), Part(second))


def images(count: int) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 1, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(
        count, dtype=torch.long
    )


def test_a_linear_network_moved_along_its_worst_direction_has_its_operator_norm() -> None:
    first, second, model = two_maps()
    product = second @ first
    signs = [torch.tensor(each) for each in itertools.product((-1.0, 1.0), repeat=2)]
    # ||A||_{inf -> 1} is reached at a vector of signs.
    worst = max(signs, key=lambda s: float((product @ s).abs().sum()))
    norm = float((product @ worst).abs().sum())
    found = lipschitz(model, *images(5), attack=Shifted(0.01 * worst.view(1, 1, 1, 2)), batch_size=2)
    assert found.numbers["network"] == pytest.approx(norm, rel=1e-4)
    inner = float((first @ worst).abs().sum())
    assert found.table["block"] == ["0", "1", "network"]
    assert found.table["constant"] == pytest.approx([inner, norm, norm], rel=1e-4)
    assert found.numbers["largest_block"] == pytest.approx(max(inner, norm), rel=1e-4)


@pytest.mark.parametrize(("output_norm", "input_norm"), itertools.product(("l1", "l2", "linf"), repeat=2))
def test_every_pair_of_norms_is_that_of_the_difference(output_norm: Any, input_norm: Any) -> None:
    out, change = torch.tensor([[3.0, -4.0]]), torch.tensor([[[[1.0, -2.0]]]])
    tops, bottoms = {"l1": 7.0, "l2": 5.0, "linf": 4.0}, {"l1": 3.0, "l2": 5.0**0.5, "linf": 2.0}
    found = quotients(out, change, output_norm, input_norm)
    assert found.tolist() == pytest.approx([tops[output_norm] / bottoms[input_norm]])


def test_an_image_that_is_left_alone_counts_with_zero() -> None:
    assert quotients(torch.ones(2, 3), torch.tensor([[0.0], [2.0]])).tolist() == [0.0, 1.5]
    _, _, model = two_maps()
    assert lipschitz(model, *images(3), attack=Shifted(torch.zeros(1))).numbers["network"] == 0.0


def test_slack_is_added_to_every_pixel_as_in_the_authors_code() -> None:
    _, _, model = two_maps()
    step = torch.tensor([0.01, 0.01]).view(1, 1, 1, 2)
    plain, code = (
        lipschitz(model, *images(4), attack=Shifted(step), slack=slack).numbers["network"]
        for slack in (0.0, 1e-3)
    )
    assert code == pytest.approx(plain * 0.01 / (0.01 - 1e-3), rel=1e-3)  # x - x' is negative here


def test_stability_counts_labels_that_stay_right_or_wrong() -> None:
    model = nn.Sequential(Part(torch.eye(2)))
    x = torch.tensor([[0.2, 0.8], [0.8, 0.2], [0.45, 0.55], [0.9, 0.5]]).view(4, 1, 1, 2)
    found = lipschitz(model, x, torch.zeros(4, dtype=torch.long), attack=Shifted(torch.tensor([0.2, 0.0])))
    assert (
        found.numbers["stability"] == 0.75
    )  # the third goes from class 1 to class 0; the first is wrong and stays so


def test_batches_decide_nothing_and_the_network_is_left_as_found() -> None:
    _, _, model = two_maps()
    model.train()
    found = [
        lipschitz(model, *images(7), attack=Shifted(torch.tensor([0.1, 0.3])), batch_size=size)
        for size in (2, 7)
    ]
    assert found[0].numbers == pytest.approx(found[1].numbers)
    assert model.training and all(p.requires_grad for p in model.parameters())
