"""Log-normal variables: products, sums and the network's law against their closed moments and against 10^6 draws."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from advarch.search.lipschitz_law import edge_law, network_law, node_laws
from advarch.search.log_normal import (
    LogNormal,
    confidence_gap,
    probability_below,
    product,
    sample,
    scaled,
    times,
    total,
)

DRAWS = 1_000_000
INCOMING = (slice(0, 2), slice(2, 5))


def numbers(*shape: int, seed: int, low: float, high: float) -> Tensor:
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * drawn


def law(*shape: int, seed: int, spread: float = 0.4) -> LogNormal:
    sigma = numbers(*shape, seed=seed + 100, low=0.1, high=spread)
    return LogNormal(numbers(*shape, seed=seed, low=-1.5, high=0.5), sigma.square())


def draws(of: LogNormal, seed: int) -> Tensor:
    """10^6 draws in front of the law's own dimensions."""
    noise = torch.randn(DRAWS, *of.mu.shape, generator=torch.Generator().manual_seed(seed))
    return sample(of.mu.float(), of.variance.sqrt().float(), noise)


def moments(of: LogNormal) -> tuple[Tensor, Tensor]:
    """Mean and variance of X itself."""
    mean = (of.mu + of.variance / 2).exp()
    return mean, mean.square() * of.variance.expm1()


def agrees(of: LogNormal, drawn: Tensor) -> None:
    """Mean and variance of the draws, within five of their standard errors."""
    drawn = drawn.double()
    mean, variance = moments(of)
    centred = drawn - drawn.mean(0)
    found = centred.square().mean(0)
    assert ((drawn.mean(0) - mean).abs() <= 5 * (found / DRAWS).sqrt()).all()
    assert ((found - variance).abs() <= 5 * ((centred**4).mean(0) - found**2).div(DRAWS).sqrt()).all()


def test_a_sample_is_exp_of_mu_plus_sigma_times_noise_and_differentiable() -> None:
    one = law(3, seed=0)
    mu, sigma = one.mu.clone().requires_grad_(), one.variance.sqrt().requires_grad_()
    noise = torch.tensor([0.3, -1.0, 2.0]).double()
    assert torch.autograd.gradcheck(lambda m, s: sample(m, s, noise), (mu, sigma))
    drawn = draws(one, 0).log().double()
    assert (drawn.mean(0) - one.mu).abs().max() < 5 * 0.4 / math.sqrt(DRAWS)
    torch.testing.assert_close(drawn.var(0), one.variance, rtol=5 * math.sqrt(2 / DRAWS), atol=0)


def test_products_and_multiples() -> None:
    one, two = law(3, seed=1), law(3, seed=2)
    factor = torch.tensor([0.5, 1.0, 3.0]).double()
    agrees(scaled(times(one, two), factor), draws(one, 1) * draws(two, 2) * factor.float())
    agrees(product(one), draws(one, 1).prod(1))


def test_a_sum_has_the_printed_variance_and_keeps_the_mean() -> None:
    one = law(4, seed=3)
    mu, v = one.mu, one.variance
    first = (mu + v / 2).exp().sum()
    printed = ((2 * mu + v).exp() * (v.exp() - 1)).sum() / first**2 + 1
    found = total(one)
    torch.testing.assert_close(found.variance, printed.log())
    torch.testing.assert_close(found.mu, first.log() - printed.log() / 2)
    agrees(found, draws(one, 3).sum(1))
    # With the proposition's sigma_Z / 2 the mean would be lost.
    slip = LogNormal(first.log() - printed.log().sqrt() / 2, printed.log())
    assert moments(slip)[0] < 0.95 * first


def test_sums_of_zeros_of_constants_and_of_large_numbers() -> None:
    none = torch.tensor([-math.inf, 0.2, -0.3], dtype=torch.float64)
    some, variance = none[1:], torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    torch.testing.assert_close(total(LogNormal(none, variance)), total(LogNormal(some, variance[1:])))
    constant = total(LogNormal(some, torch.zeros(2)))
    assert constant.variance == 0
    torch.testing.assert_close(constant.mu, some.exp().sum().log())
    large = total(LogNormal(some + 500, variance[1:]))
    torch.testing.assert_close(large.mu - 500, total(LogNormal(some, variance[1:])).mu)


def test_edge_node_and_network_moments_are_those_of_draws() -> None:
    incoming = (slice(0, 1), slice(1, 3))
    alpha, beta = law(1, 3, 2, seed=4), law(1, 3, seed=5)
    constants = numbers(1, 3, 2, seed=6, low=0.3, high=2.0)
    a, b = draws(alpha, 4), draws(beta, 5)
    edges = edge_law(alpha, constants)
    drawn = (a * constants[0].float()).sum(-1)
    agrees(edges, drawn)
    nodes = node_laws(beta, edges, incoming)
    weighted = b * drawn
    drawn_nodes = torch.stack([weighted[..., part].sum(-1) for part in incoming], -1)
    agrees(nodes, drawn_nodes)
    found = network_law(alpha, beta, constants, kinds=[0], incoming=incoming, log_constant=0.7)
    network = drawn_nodes.prod(-1)[:, 0] * math.exp(0.7)
    agrees(found, network)
    for quantile in (0.1, 0.5, 0.9):
        bound = network.quantile(quantile).log().double()
        assert probability_below(found, bound) == pytest.approx(quantile, abs=0.01)


def test_a_network_is_the_product_over_all_places_and_without_variance_it_is_equation_10() -> None:
    alpha, beta = law(2, 5, 3, seed=7), law(2, 5, seed=8)
    constants = numbers(3, 5, 3, seed=9, low=0.3, high=2.0)
    kinds = [0, 1, 0]
    whole = network_law(alpha, beta, constants, kinds=kinds, incoming=INCOMING)
    mu, variance = 0.0, 0.0
    for place, kind in enumerate(kinds):
        for part in INCOMING:
            edges = [
                times(
                    LogNormal(beta.mu[kind, e], beta.variance[kind, e]),
                    edge_law(LogNormal(alpha.mu[kind, e], alpha.variance[kind, e]), constants[place, e]),
                )
                for e in range(5)[part]
            ]
            node = total(LogNormal(*map(torch.stack, zip(*edges, strict=True))))
            mu, variance = mu + node.mu, variance + node.variance
    torch.testing.assert_close(whole, LogNormal(mu, variance))
    fixed = network_law(
        alpha._replace(variance=0 * alpha.variance), beta._replace(variance=0 * beta.variance), constants,
        kinds=kinds, incoming=INCOMING, log_constant=0.3,
    )  # fmt: skip
    weights = beta.mu[kinds].exp() * (alpha.mu[kinds].exp() * constants).sum(-1)
    printed = math.exp(0.3) * torch.stack([weights[:, part].sum(-1) for part in INCOMING]).prod()
    assert fixed.variance == 0
    torch.testing.assert_close(fixed.mu, printed.log())


def test_the_gap_is_zero_exactly_at_the_wanted_confidence() -> None:
    one = LogNormal(*torch.tensor([0.4, 0.09], dtype=torch.float64))
    for eta in (0.5, 0.7, 0.9):
        exact = 0.4 + norm.ppf(eta) * 0.3
        gap = confidence_gap(one, exact, eta=eta, spread="deviation")
        assert abs(float(gap)) < 1e-12
        assert float(probability_below(one, exact)) == pytest.approx(eta, abs=1e-12)
        printed = confidence_gap(one, 0.4 + norm.ppf(eta) * 0.09, eta=eta)
        assert abs(float(printed)) < 1e-12
        # What the printed form asks for at sigma = 0.3.
        weaker = probability_below(one, 0.4 + norm.ppf(eta) * 0.09)
        assert float(weaker) == pytest.approx(norm.cdf(norm.ppf(eta) * 0.3), abs=1e-12)


@pytest.mark.parametrize("spread", ["variance", "deviation"])
def test_the_gradient_of_the_whole_constraint_is_that_of_finite_differences(spread) -> None:
    constants = numbers(3, 5, 3, seed=9, low=0.3, high=2.0)
    constants[..., 2] = 0

    def gap(mu_alpha: Tensor, log_alpha: Tensor, mu_beta: Tensor, log_beta: Tensor) -> Tensor:
        whole = network_law(
            LogNormal(mu_alpha, (2 * log_alpha).exp()),
            LogNormal(mu_beta, (2 * log_beta).exp()),
            constants, kinds=[0, 1, 0], incoming=INCOMING,
        )  # fmt: skip
        return confidence_gap(whole, 1.5, eta=0.9, spread=spread)

    point = [numbers(2, 5, 3, seed=1, low=-1, high=1), numbers(2, 5, 3, seed=2, low=-1.5, high=-0.5)]
    point += [numbers(2, 5, seed=3, low=-1, high=1), numbers(2, 5, seed=4, low=-1.5, high=-0.5)]
    assert torch.autograd.gradcheck(gap, [p.requires_grad_() for p in point])
    gap(*point).backward()
    # Zero's weight has no part in the constant; every other one has, and more of it where the constant is larger.
    assert (
        torch.equal(point[0].grad[..., 2], torch.zeros(2, 5).double()) and (point[0].grad[..., :2] > 0).all()
    )
