"""Positive random variables whose logarithm is normal, their products and sums (RACL, Properties 1 and 2, Proposition 1)."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Spread = Literal["variance", "deviation"]
"""What stands beside Phi^-1(eta) in a constraint on confidence: sigma^2, as RACL prints it, or sigma, as Eq. 15 has it."""


class LogNormal(NamedTuple):
    """ln X ~ N(mu, variance), for tensors of independent X. Both are those of the logarithm, as in RACL."""

    mu: Tensor
    variance: Tensor


def sample(mu: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """exp(mu + sigma * noise) with standard normal noise: LN(mu, sigma^2), differentiable in mu and sigma (RACL, Algorithm 1)."""
    return (mu + sigma * noise).exp()


def scaled(law: LogNormal, factor: Tensor) -> LogNormal:
    """factor * X ~ LN(mu + ln factor, variance), for factors >= 0 (Property 1); factor 0 leaves a mu of minus infinity."""
    return LogNormal(law.mu + factor.log(), law.variance)


def times(one: LogNormal, other: LogNormal) -> LogNormal:
    """X * Y ~ LN(mu_X + mu_Y, variance_X + variance_Y) (Property 2)."""
    return LogNormal(one.mu + other.mu, one.variance + other.variance)


def product(law: LogNormal, dim: int = -1) -> LogNormal:
    """The product of the X along a dimension: means and variances add (Property 2)."""
    return LogNormal(law.mu.sum(dim), law.variance.sum(dim))


def total(law: LogNormal, dim: int = -1) -> LogNormal:
    """The log-normal variable that has the mean and the variance of the sum of the X along a dimension (Proposition 1).

    Fenton and Wilkinson: with S = sum e^(mu_i + v_i/2),
    v_Z = ln[ sum e^(2 mu_i + v_i) (e^v_i - 1) / S^2 + 1 ] and mu_Z = ln S - v_Z / 2. The proposition prints sigma_Z / 2 there;
    Eq. 11 has sigma_Z^2 / 2, and only with that is E[Z] = S. The quotient is written as sum w_i^2 (e^v_i - 1),
    w_i = e^(mu_i + v_i/2) / S, which neither overflows nor minds terms that are 0; not all of them may be.
    """
    log_means = law.mu + law.variance / 2
    shares = log_means.softmax(dim)
    variance = (shares.square() * law.variance.expm1()).sum(dim).log1p()
    return LogNormal(log_means.logsumexp(dim) - variance / 2, variance)


def probability_below(law: LogNormal, log_bound: Tensor | float) -> Tensor:
    """Pr[X <= bound] = Phi((ln bound - mu) / sigma) (RACL, Eq. 14)."""
    return torch.special.ndtr((log_bound - law.mu) / law.variance.sqrt())


def confidence_gap(
    law: LogNormal, log_bound: Tensor | float, *, eta: float, spread: Spread = "variance"
) -> Tensor:
    """c = mu + Phi^-1(eta) sigma^2 - ln bound, to be at most 0 (RACL, Eq. 17).

    Pr[X <= bound] >= eta is c <= 0 with sigma in place of sigma^2 (Eq. 15). The paper omits the square root, so that c is
    linear in the variance; for sigma below 1 it then asks for less: c = 0 gives Pr = Phi(Phi^-1(eta) sigma).

    Args:
        law: of the Lipschitz constant, or whatever is bounded.
        log_bound: ln of the bound.
        eta: confidence in (0, 1).
        spread: sigma^2 (`variance`) or sigma (`deviation`).
    """
    quantile = torch.special.ndtri(torch.tensor(eta, dtype=law.mu.dtype, device=law.mu.device))
    return law.mu + quantile * (law.variance if spread == "variance" else law.variance.sqrt()) - log_bound
