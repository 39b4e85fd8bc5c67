"""RACL (Dong et al., "Adversarially Robust Neural Architectures"): log-normal architectures under a confident Lipschitz bound."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.optim import Optimizer

from advarch.backbones.supernet import Supernet
from advarch.errors import InputError
from advarch.genotype.cell import Genotype
from advarch.search.architecture import LogNormalWeights
from advarch.search.derivation import strongest
from advarch.search.gradient_norm import loss_and_gradient_norm
from advarch.search.lipschitz_law import network_law
from advarch.search.log_normal import LogNormal, Spread, confidence_gap, probability_below
from advarch.search.method import Batches, Parameters, Progress
from advarch.search.multipliers import DualStep, Penalty, ascend, augmented
from advarch.search.operation_lipschitz import OperationLipschitz
from advarch.types import Batch

Blocks = Literal["together", "in_turn"]
"""Whether mu and sigma step from one point, as the indices of Eqs. 18 and 19 have it, or sigma and theta after mu, as ADMM does."""

Derivation = Literal["sample", "median"]


class Racl:
    """min CE + ||grad_x CE|| over weights and the laws of alpha and beta, with Pr[lambda_F <= lambda*] >= eta (Eqs. 16 to 19).

    Args:
        supernet: its `arch` a `LogNormalWeights`; without spread the constraint is that of Eq. 10 (Table 8, "w/o CL").
        model: what the loss is taken of, the supernet behind a normalisation; None: the supernet itself.
        rho: weight of the penalty and rate of the multiplier.
        eta: confidence.
        log_bound: ln lambda*; None takes the constraint's own value at the first step on the architecture, every node's
            constant `tightening` times smaller.
        tightening: see there.
        log_constant: ln C, of the loss and the classifier.
        gradient_norm: weight of the gradient norm at both levels; 0 leaves it out (Table 8).
        spread: `variance` as printed, or `deviation`; see `confidence_gap`.
        dual_step: `printed`: multiplier and penalty of either sign (Eqs. 17, 19); `projected`: those of an inequality.
        blocks: order of the steps on mu, sigma and theta.
        warmup: epochs in which the architecture stays.
        power_iterations: a step, for the constants of the operations.
        derivation: the cell of one `sample` of alpha and beta (Algorithm 1), or of their `median`s.

    Raises:
        InputError: another kind of architecture, or deviations where there are none.
    """

    def __init__(
        self,
        supernet: Supernet,
        *,
        model: nn.Module | None = None,
        rho: Annotated[float, Gt(0)] = 0.001,
        eta: Annotated[float, Gt(0), Lt(1)] = 0.9,
        log_bound: float | None = None,
        tightening: Annotated[float, Gt(0)] = 0.9,
        log_constant: float = 0.0,
        gradient_norm: Annotated[float, Ge(0)] = 1.0,
        spread: Spread = "variance",
        dual_step: DualStep = "printed",
        blocks: Blocks = "together",
        warmup: Annotated[float, Ge(0)] = 15,
        power_iterations: Annotated[int, Ge(1)] = 1,
        derivation: Derivation = "sample",
    ) -> None:
        if not isinstance(supernet.arch, LogNormalWeights):
            raise InputError(
                f"arch: expected LogNormalWeights for RACL, came {type(supernet.arch).__name__}; set supernet.arch"
            )
        if spread == "deviation" and supernet.arch.log_sigma_alpha is None:
            raise InputError("spread: expected variance where the weights have none, came deviation")
        self.supernet, self.model = supernet, supernet if model is None else model
        self.arch: LogNormalWeights = supernet.arch
        self.rho, self.eta, self.spread, self.dual_step = rho, eta, spread, dual_step
        self.penalty: Penalty = "square" if dual_step == "printed" else "hinge"
        self.log_bound, self.tightening, self.log_constant = log_bound, tightening, log_constant
        self.gradient_norm, self.blocks, self.warmup = gradient_norm, blocks, warmup
        self.power_iterations, self.derivation = power_iterations, derivation
        self.multiplier = torch.zeros(())
        self.constants = OperationLipschitz(supernet.operations())

    def parameters(self) -> dict[str, Parameters]:
        """The supernet's weights, and the laws. The logarithm of sigma has no weight decay, which would draw sigma to 1."""
        means, spreads = self._blocks()
        groups: list[dict[str, Any]] = [{"params": means}]
        if spreads:
            groups.append({"params": spreads, "weight_decay": 0.0})
        return {"weights": self.supernet.weights(), "arch": groups}

    def step(
        self, batches: Batches, optimizers: Mapping[str, Optimizer], progress: Progress
    ) -> dict[str, Tensor]:
        """A sample of alpha and beta; the weights on it; after the warm-up mu, sigma and the multiplier (Algorithm 1)."""
        self.arch.draw(progress.generator("architecture"))
        weights = self.supernet.weights()
        loss, terms = self._loss(batches.weights)
        _fill(weights, torch.autograd.grad(loss, weights))
        optimizers["weights"].step()
        if progress.epoch >= self.warmup:
            terms |= self._step_arch(batches.arch, optimizers["arch"])
        return terms

    def gap(self, constants: Tensor) -> tuple[Tensor, LogNormal]:
        """c(mu, Sigma) and the law of lambda_F it is of; without a bound as yet, c + ln lambda*."""
        alpha, beta = self.arch.laws()
        space = self.supernet.space
        law = network_law(
            alpha, beta, constants,
            kinds=self.supernet.kinds, incoming=space.incoming, log_constant=self.log_constant,
        )  # fmt: skip
        bound = 0.0 if self.log_bound is None else self.log_bound
        return confidence_gap(law, bound, eta=self.eta, spread=self.spread), law

    def derive(self, progress: Progress, name: str = "found") -> Genotype:
        """The strongest operations on the strongest edges of a sample, or of the medians."""
        if self.derivation == "sample":
            self.arch.draw(progress.generator("derivation"))
        else:
            self.arch.still()
        return strongest(self.supernet.space, self.arch(), name=name)

    def state_dict(self) -> dict[str, Any]:
        """Multiplier, bound, and where the power iterations stand."""
        return {
            "multiplier": self.multiplier,
            "log_bound": self.log_bound,
            "constants": self.constants.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.multiplier, self.log_bound = state_dict["multiplier"], state_dict["log_bound"]
        self.constants.load_state_dict(state_dict["constants"])

    def _step_arch(self, batch: Batch, optimizer: Optimizer) -> dict[str, Tensor]:
        constants = self._operation_constants()
        gap, law = self.gap(constants)
        if self.log_bound is None:
            nodes = len(self.supernet.kinds) * self.supernet.space.nodes
            self.log_bound = float(gap.detach()) + nodes * math.log(self.tightening)
            gap = gap - self.log_bound
        means, spreads = self._blocks()
        if self.blocks == "together":
            loss, terms = self._loss(batch)
            self._descend(loss, gap, [*means, *spreads], optimizer)
        else:
            loss, terms = self._loss(batch)
            self._descend(loss, gap, means, optimizer)
            if spreads:
                self._descend(self._loss(batch)[0], self.gap(constants)[0], spreads, optimizer)
            gap, law = self.gap(constants)
        self.multiplier = ascend(
            self.multiplier, gap.detach().to(self.multiplier), rho=self.rho, dual_step=self.dual_step
        )
        return {f"{name}_arch": term for name, term in terms.items()} | {
            "gap": gap.detach(),
            "multiplier": self.multiplier,
            "confidence": probability_below(law, self.log_bound).detach(),
        }

    def _descend(self, loss: Tensor, gap: Tensor, parameters: Sequence[Tensor], optimizer: Optimizer) -> None:
        """One step on some of the architecture's parameters; the others have no gradient, so the optimizer leaves them."""
        total = augmented(loss, gap, self.multiplier.to(gap), rho=self.rho, penalty=self.penalty)
        optimizer.zero_grad(set_to_none=True)
        _fill(parameters, torch.autograd.grad(total, list(parameters)))
        optimizer.step()

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """CE + ||grad_x CE||, batch means (Eq. 16)."""
        if not self.gradient_norm:
            loss = F.cross_entropy(self.model(batch.x), batch.y)
            return loss, {"ce": loss.detach()}
        loss, length, _ = loss_and_gradient_norm(self.model, batch.x, batch.y)
        terms = {"ce": loss.detach(), "gradient_norm": length.detach()}
        return loss + self.gradient_norm * length, terms

    def _operation_constants(self) -> Tensor:
        """lambda_o, (places, edges, operations), in full precision."""
        space, places = self.supernet.space, len(self.supernet.kinds)
        with torch.autocast(self.arch.mu_alpha.device.type, enabled=False):
            found = self.constants(self.power_iterations)
        return found.view(places, len(space.edges), len(space.operations))

    def _blocks(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The means, and the logarithms of the deviations where there are any."""
        spreads = [self.arch.log_sigma_alpha, self.arch.log_sigma_beta]
        return [self.arch.mu_alpha, self.arch.mu_beta], [s for s in spreads if s is not None]


def _fill(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
