"""What a supernet's edges are weighed by: modules that hold an architecture's parameters and give its `Mixing`."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from advarch.genotype.cell import Genotype
from advarch.genotype.space import Space
from advarch.layers.mixed_op import Mixing
from advarch.search.log_normal import LogNormal, sample

Normalise = Literal["none", "sum"]
"""Whether log-normal samples are used as they are (RACL, Eq. 5) or divided by their sum over an edge, and over a node's inputs."""


class Softmax(nn.Module):
    """softmax(alpha) over the operations of an edge (DARTS, Eq. 2); softmax(beta) over the edges into a node (PC-DARTS, Eq. 3).

    Args:
        space: what there is to weigh.
        edges: whether there are betas.
        std: of the normal distribution that the parameters start from.
    """

    def __init__(self, space: Space, *, edges: bool = False, std: Annotated[float, Ge(0)] = 0.001) -> None:
        super().__init__()
        self.space = space
        shape = (space.kinds, len(space.edges))
        self.alpha = nn.Parameter(std * torch.randn(*shape, len(space.operations)))
        self.beta = nn.Parameter(std * torch.randn(shape)) if edges else None

    def forward(self) -> Mixing:
        inputs = None
        if self.beta is not None:
            parts = [self.beta[:, part].softmax(-1) for part in self.space.incoming]
            inputs = torch.cat(parts, dim=-1)
        return Mixing(self.alpha.softmax(-1), inputs)


class LogNormalWeights(nn.Module):
    """alpha = exp(mu + sigma * noise) on every operation, beta likewise on every edge (RACL, section 3.3).

    `draw` renews the noise; until then the mixture is a function of mu and sigma. The logarithm of sigma is the parameter.

    Args:
        space: what there is to weigh.
        sigma: at the start.
        spread: whether there are sigmas; without, alpha and beta are plain positive parameters (Table 8, "w/o CL").
        normalise: `none` or `sum`.
    """

    noise_alpha: Tensor
    noise_beta: Tensor

    def __init__(
        self,
        space: Space,
        *,
        sigma: Annotated[float, Gt(0)] = 0.1,
        spread: bool = True,
        normalise: Normalise = "none",
    ) -> None:
        super().__init__()
        self.space, self.normalise = space, normalise
        shape = (space.kinds, len(space.edges))
        # The median weights are those of a uniform softmax.
        inputs = torch.tensor([float(target) for _, target in space.edges])
        self.mu_alpha = nn.Parameter(
            torch.full((*shape, len(space.operations)), -math.log(len(space.operations)))
        )
        self.mu_beta = nn.Parameter(-inputs.log().repeat(space.kinds, 1))
        self.log_sigma_alpha = _spread(self.mu_alpha, sigma) if spread else None
        self.log_sigma_beta = _spread(self.mu_beta, sigma) if spread else None
        self.register_buffer("noise_alpha", torch.zeros_like(self.mu_alpha))
        self.register_buffer("noise_beta", torch.zeros_like(self.mu_beta))

    def forward(self) -> Mixing:
        alpha = sample(self.mu_alpha, _sigma(self.log_sigma_alpha, self.mu_alpha), self.noise_alpha)
        beta = sample(self.mu_beta, _sigma(self.log_sigma_beta, self.mu_beta), self.noise_beta)
        if self.normalise == "sum":
            alpha = alpha / alpha.sum(-1, keepdim=True)
            parts = [beta[:, part] / beta[:, part].sum(-1, keepdim=True) for part in self.space.incoming]
            beta = torch.cat(parts, dim=-1)
        return Mixing(alpha, beta)

    def draw(self, generator: torch.Generator) -> None:
        """New noise for alpha and beta."""
        for noise in (self.noise_alpha, self.noise_beta):
            noise.copy_(torch.randn(noise.shape, generator=generator, dtype=noise.dtype))

    def still(self) -> None:
        """No noise: the mixture of the medians."""
        self.noise_alpha.zero_()
        self.noise_beta.zero_()

    def laws(self) -> tuple[LogNormal, LogNormal]:
        """Of alpha and beta."""
        sigma_alpha = _sigma(self.log_sigma_alpha, self.mu_alpha)
        sigma_beta = _sigma(self.log_sigma_beta, self.mu_beta)
        return LogNormal(self.mu_alpha, sigma_alpha.square()), LogNormal(self.mu_beta, sigma_beta.square())


class Path(nn.Module):
    """The operations of one genotype, each with weight 1: a sub-network of the supernet (RobNet, section 3.2)."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.choose_all()

    def forward(self) -> Mixing:
        return self.chosen

    def choose(self, genotype: Genotype) -> None:
        """Run this genotype from now on."""
        self.chosen = chosen(self.space, genotype)

    def choose_all(self) -> None:
        """Run every operation from now on, as before the first choice (RobNet: all alpha = 1)."""
        everything = tuple(op != "none" for op in self.space.operations)
        self.chosen = Mixing(((everything,) * len(self.space.edges),) * self.space.kinds)


def chosen(space: Space, genotype: Genotype) -> Mixing:
    """The mixing that runs a genotype of the space and nothing else."""
    present = [{(edge.source, target, edge.op) for target, edge in cell.edges} for cell in genotype.cells]
    return Mixing(
        tuple(
            tuple(
                tuple((source, target, op) in cell for op in space.operations)
                for source, target in space.edges
            )
            for cell in present
        )
    )


def _spread(mu: Tensor, sigma: float) -> nn.Parameter:
    return nn.Parameter(torch.full_like(mu, math.log(sigma)))


def _sigma(log_sigma: Tensor | None, mu: Tensor) -> Tensor:
    return torch.zeros_like(mu) if log_sigma is None else log_sigma.exp()
