"""Expected multiply-adds against all discrete cells of a small space, each with its probability."""

import itertools
from random import Random

import pytest
import torch

from advarch.genotype.cost import cell_cost
from advarch.genotype.space import DARTS_OPERATIONS, Space
from advarch.search.architecture import chosen
from advarch.search.expected_cost import cost_factor, expected_cost, operation_macs, unit_gamma

INCOMING = (slice(0, 2), slice(2, 5))
KINDS = [0, 1, 0]


def point() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    beta = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    costs = torch.rand(3, 5, 3, generator=generator, dtype=torch.float64) * 1e6
    costs[..., 0] = 0
    return alpha, beta, costs


def softmaxes(alpha: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return alpha.softmax(-1), torch.cat([beta[:, part].softmax(-1) for part in INCOMING], -1)


def test_the_expectation_is_the_mean_over_all_discrete_networks() -> None:
    alpha, beta, costs = point()
    operations, inputs = softmaxes(alpha, beta)
    cells = [[(edge, op) for edge in range(5)[part] for op in range(3)] for part in INCOMING]
    mean, mass = 0.0, 0.0
    choices = list(itertools.product(*cells))
    assert len(choices) == 6 * 9
    for normal, reduction in itertools.product(choices, repeat=2):
        chance, cost = 1.0, 0.0
        for kind, cell in enumerate((normal, reduction)):
            for edge, op in cell:
                chance *= float(inputs[kind, edge] * operations[kind, edge, op])
                cost += sum(float(costs[place, edge, op]) for place in range(3) if KINDS[place] == kind)
        mean, mass = mean + chance * cost, mass + chance
    assert mass == pytest.approx(1)
    assert float(expected_cost(operations, inputs, costs, kinds=KINDS)) == pytest.approx(mean, rel=1e-12)


def test_the_gradient_is_that_of_finite_differences_and_the_factor_as_printed() -> None:
    alpha, beta, costs = point()

    def factor(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return cost_factor(expected_cost(*softmaxes(a, b), costs, kinds=KINDS), gamma=0.3, tau=1.7)

    assert torch.autograd.gradcheck(factor, (alpha.requires_grad_(), beta.requires_grad_()))
    cost = expected_cost(*softmaxes(alpha, beta), costs, kinds=KINDS).detach()
    for tau in (0.0, 0.5, 1.0, 2.0):
        gamma = unit_gamma(cost, tau=tau)
        assert float(cost_factor(cost, gamma=gamma, tau=tau)) == pytest.approx(1)
        assert float(cost_factor(cost**2, gamma=gamma, tau=tau)) == pytest.approx(2**tau)


def test_the_costs_of_one_cell_s_edges_add_up_to_the_cell_s() -> None:
    space = Space(DARTS_OPERATIONS, nodes=3)
    genotype = space.sample(Random(0))
    places = {"channels": [4, 8, 8], "sides": [9, 9, 5], "reductions": [False, True, False]}
    table = operation_macs(space, **places)
    bits = torch.tensor(chosen(space, genotype).operations)[[0, 1, 0]]
    found = (table * bits).sum((1, 2)).tolist()
    cells = zip(*places.values(), strict=True)
    assert found == [cell_cost(genotype.cells[int(r)], c, side, reduction=r).macs for c, side, r in cells]
    # All weight on these operations, all edges weighed 1: the expectation is that sum.
    ones = torch.ones(2, len(space.edges), dtype=torch.float64)
    weights = torch.tensor(chosen(space, genotype).operations, dtype=torch.float64)
    assert float(expected_cost(weights, ones, table, kinds=[0, 1, 0])) == sum(found)
