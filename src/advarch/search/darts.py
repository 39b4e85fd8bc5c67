"""Differentiable search of first and second order (Liu et al. 2019), with PC-DARTS' edges where the supernet has them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.optim import Optimizer

from advarch.genotype.cell import Genotype
from advarch.search.derivation import strongest
from advarch.search.method import Batches, Loss, Parameters, Progress, Searched
from advarch.search.unrolled import unrolled_gradient
from advarch.search.weight_step import weight_step
from advarch.types import Attack

Order = Literal["first", "second"]
VirtualStep = Literal["gradient", "momentum"]
"""The weights at which second order looks: one plain gradient step on, as printed, or one step of the optimizer, as in the code."""


class Darts:
    """alpha <- alpha - grad_alpha L_val(w - xi grad_w L_train(w, alpha), alpha), then w on L_train (DARTS, Algorithm 1).

    xi is 0 at first order. With a supernet of partial channels and weighed edges this is PC-DARTS (first order). The loss
    of both levels is that of the defense: natural as published, or adversarial.

    Args:
        supernet: its `arch` a `Softmax`.
        defense: the loss of both levels.
        attack: its attack.
        model: what the loss is taken of, the supernet behind a normalisation; None: the supernet itself.
        order: `first` or `second`.
        virtual_step: `gradient` (Eq. 6) or `momentum`: with momentum and weight decay of the weights' optimizer. xi is its rate.
        warmup: epochs in which the architecture stays.
    """

    def __init__(
        self,
        supernet: Searched,
        *,
        defense: Loss,
        attack: Attack,
        model: nn.Module | None = None,
        order: Order = "first",
        virtual_step: VirtualStep = "gradient",
        warmup: Annotated[float, Ge(0)] = 0,
    ) -> None:
        self.supernet, self.model = supernet, supernet if model is None else model
        self.defense, self.attack = defense, attack
        self.order, self.virtual_step, self.warmup = order, virtual_step, warmup

    def parameters(self) -> dict[str, Parameters]:
        """The supernet's weights, and alpha (and beta)."""
        return {"weights": self.supernet.weights(), "arch": list(self.supernet.arch.parameters())}

    def step(
        self, batches: Batches, optimizers: Mapping[str, Optimizer], progress: Progress
    ) -> dict[str, Tensor]:
        """The architecture on its half, unless in the warm-up, then the weights on theirs."""
        logs = {}
        if progress.epoch >= self.warmup:
            logs["loss_arch"] = self._step_arch(batches, optimizers, progress)
        step = progress.train_step(batches.weights, "weights")
        terms = weight_step(
            self.model, self.supernet, batches.weights, optimizers["weights"],
            defense=self.defense, attack=self.attack, step=step,
        )  # fmt: skip
        return logs | terms

    def derive(self, progress: Progress, name: str = "found") -> Genotype:
        """The strongest operations on the strongest edges."""
        del progress
        return strongest(self.supernet.space, self.supernet.arch(), name=name)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all there is lies in the supernet."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to put back."""

    def _step_arch(self, batches: Batches, optimizers: Mapping[str, Optimizer], progress: Progress) -> Tensor:
        arch = list(self.supernet.arch.parameters())

        def training() -> Tensor:
            return self._loss(batches, progress, "weights")

        def validation() -> Tensor:
            return self._loss(batches, progress, "arch")

        if self.order == "first":
            loss = validation()
            gradients: Sequence[Tensor] = torch.autograd.grad(loss, arch)
        else:
            weights = self.supernet.weights()
            optimizer = optimizers["weights"]
            drift = _drift(optimizer, weights) if self.virtual_step == "momentum" else None
            rate = float(optimizer.param_groups[0]["lr"])
            loss, gradients = unrolled_gradient(
                training, validation, weights=weights, arch=arch, rate=rate, drift=drift
            )
        for parameter, gradient in zip(arch, gradients, strict=True):
            parameter.grad = gradient
        optimizers["arch"].step()
        return loss.detach()

    def _loss(self, batches: Batches, progress: Progress, half: Literal["weights", "arch"]) -> Tensor:
        batch = getattr(batches, half)
        step = progress.train_step(batch, half)
        return self.defense(self.model, batch.x, batch.y, attack=self.attack, step=step).total


def _drift(optimizer: Optimizer, weights: Sequence[Tensor]) -> list[Tensor]:
    """What SGD adds to the gradient: weight decay and the momentum it has gathered."""
    options = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    drift = []
    for weight in weights:
        group, buffer = options[id(weight)], optimizer.state[weight].get("momentum_buffer")
        decay = group["weight_decay"] * weight.detach()
        drift.append(decay if buffer is None else decay + group["momentum"] * buffer)
    return drift
