"""NADAR (Li et al., "Neural Architecture Dilation for Adversarial Robustness"): cells beside a backbone, under its standard loss."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.optim import Optimizer

from advarch.backbones.dilated_supernet import DilatedSupernet
from advarch.defenses.free import Free
from advarch.errors import InputError
from advarch.genotype.cell import Genotype
from advarch.genotype.operations import OPERATIONS
from advarch.modes import frozen_parameters
from advarch.search.architecture import Softmax
from advarch.search.derivation import strongest
from advarch.search.expected_cost import cost_factor, expected_cost, operation_macs, unit_gamma
from advarch.search.method import Batches, Parameters, Progress
from advarch.search.multipliers import DualStep, ascend, augmented
from advarch.threat import Threat
from advarch.types import Batch, Images

Objectives = Literal["constrained", "separate", "joint"]
"""The rows of Table 6, last first: backbone and dilation apart, with the standard constraint or without it; one adversarial loss."""

Backbone = Literal["alternating", "pretrained_frozen"]
"""Whether the backbone learns beside the dilation (Eq. 6), or is fixed (section 4.2)."""

Half = Literal["arch", "weights"]
"""Which half of the images, and so which level: `arch` the upper one (Eqs. 15 to 18), `weights` the lower one (Eqs. 19 to 22)."""


class Nadar:
    """min over alpha, beta gamma log(FLOPs)^tau L_adv and over the dilation's weights L_adv, both s.t. L_std(hybrid) <= L_std(backbone).

    Eqs. 12 to 14; the backbone's own weights minimise L_std of the backbone alone (Eq. 6). L_adv is that of FreeAT
    (Shafahi et al. 2019): each batch comes `replays` times, and the backward pass of a level also moves its perturbation.

    Args:
        supernet: its `arch` a `Softmax` with weighed edges.
        threat: the ball of the perturbations.
        step_size: length of their step, in units of pixels in [0, 1].
        replays: K, steps on each pair of batches in a row.
        model: what the losses are taken of, the supernet behind a normalisation; None: the supernet itself.
        objectives: see `Objectives`.
        backbone: see there.
        tau: exponent of the multiply-adds' logarithm; 0 leaves them out.
        gamma: factor before it; None takes the one with which the two give 1 at the first step on the architecture.
        rho: weight of the penalties and rate of the multipliers.
        dual_step: `printed`: multipliers of either sign (Eqs. 18, 22), or `projected`.
        warmup: epochs in which the architecture stays.

    Raises:
        InputError: another kind of architecture, or settings that contradict each other.
    """

    def __init__(
        self,
        supernet: DilatedSupernet,
        *,
        threat: Threat,
        step_size: Annotated[float, Ge(0)],
        replays: Annotated[int, Ge(1)] = 8,
        model: nn.Module | None = None,
        objectives: Objectives = "constrained",
        backbone: Backbone = "alternating",
        tau: Annotated[float, Ge(0)] = 1.0,
        gamma: Annotated[float, Gt(0)] | None = None,
        rho: Annotated[float, Gt(0)] = 0.001,
        dual_step: DualStep = "projected",
        warmup: Annotated[float, Ge(0)] = 2,
    ) -> None:
        _check(supernet, objectives, backbone, tau)
        self.supernet, self.model = supernet, supernet if model is None else model
        self.replays, self.objectives, self.backbone = replays, objectives, backbone
        self.tau, self.gamma, self.rho, self.dual_step, self.warmup = tau, gamma, rho, dual_step, warmup
        self.free: dict[Half, Free] = {"arch": Free(threat, step_size), "weights": Free(threat, step_size)}
        self.multipliers: dict[Half, Tensor] = {"arch": torch.zeros(()), "weights": torch.zeros(())}
        self._costs: Tensor | None = None

    def parameters(self) -> dict[str, Parameters]:
        """The weights that learn, and alpha and beta."""
        hybrid = self.supernet.hybrid
        learns = hybrid.dilation if self.backbone == "pretrained_frozen" else hybrid
        return {"weights": list(learns.parameters()), "arch": list(self.supernet.arch.parameters())}

    def step(
        self, batches: Batches, optimizers: Mapping[str, Optimizer], progress: Progress
    ) -> dict[str, Tensor]:
        """K times: after the warm-up alpha, beta and lambda_1, then the backbone, then the dilation and lambda_2."""
        net = self.supernet
        if self.backbone == "pretrained_frozen":
            net.base.eval()
        logs: dict[str, Tensor] = {}
        for _ in range(self.replays):
            if progress.epoch >= self.warmup:
                terms = self._descend(batches.arch, "arch", optimizers["arch"], progress, still=[net.hybrid])
                logs |= {f"{name}_arch": term for name, term in terms.items()}
            still: list[nn.Module] = [net.arch]
            if self.objectives != "joint":
                if self.backbone == "alternating":
                    logs["ce_backbone"] = self._step_backbone(batches.weights, optimizers["weights"])
                still.append(net.base)
            logs |= self._descend(batches.weights, "weights", optimizers["weights"], progress, still=still)
        return logs

    def objective(self, batch: Batch, half: Half, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        """The augmented Lagrangian of the level (Eq. 15 or 19) at the perturbation it has come to, and its terms."""
        output = self.free[half](self.model, batch.x, batch.y)
        loss, terms = output.total, {"ce_adv": output.total.detach()}
        if half == "weights":
            terms["train_accuracy"] = (output.logits.argmax(1) == batch.y).float().mean()
        if half == "arch":
            factor = self.factor(batch.x)
            loss, terms["factor"] = factor.to(loss) * loss, factor.detach()
        if self.objectives == "constrained":
            gap = self.gap(batch, progress)
            multiplier = self.multipliers[half].to(gap)
            loss = augmented(loss, gap, multiplier, rho=self.rho, penalty="hinge")
            terms["gap"] = gap.detach()
        return loss, terms

    def gap(self, batch: Batch, progress: Progress) -> Tensor:
        """c = L_std(hybrid) - L_std(backbone) (Eqs. 7, 16, 20). The backbone's loss is a constant in it."""
        with torch.no_grad(), self.supernet.undilated():
            of_backbone = F.cross_entropy(self.model(batch.x), batch.y)
        gap = F.cross_entropy(self.model(batch.x), batch.y) - of_backbone
        # The value is that of all processes' images, the gradient this one's share of it.
        return gap + (progress.mean(gap.detach()) - gap.detach())

    def factor(self, x: Images) -> Tensor:
        """gamma log(FLOPs)^tau for images as large as these (Eq. 11), 1 to begin with where gamma was not given."""
        if self.tau == 0:
            return torch.tensor(self.gamma or 1.0)
        cost = self.cost(x)
        if self.gamma is None:
            self.gamma = unit_gamma(cost.detach(), tau=self.tau)
        return cost_factor(cost, gamma=self.gamma, tau=self.tau)

    def cost(self, x: Images) -> Tensor:
        """The expected multiply-adds of the dilation's operations (Eq. 10)."""
        net = self.supernet
        if self._costs is None:
            self._costs = operation_macs(
                net.space,
                channels=[place.channels for place in net.places],
                sides=net.sides(x.shape[-1]),
                reductions=[place.reduction for place in net.places],
            )
        operations, inputs = net.arch()
        return expected_cost(operations, inputs, self._costs.to(inputs.device), kinds=net.kinds)

    def derive(self, progress: Progress, name: str = "found") -> Genotype:
        """The strongest operations on the strongest edges, alpha and beta multiplied."""
        del progress
        return strongest(self.supernet.space, self.supernet.arch(), name=name)

    def start(self, *, images: int, device: torch.device, rank: int, world_size: int) -> None:
        """Begin without perturbations, as the process of that rank."""
        for free in self.free.values():
            free.start(images=images, device=device, rank=rank, world_size=world_size)

    def gather(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Put the perturbations of all processes together; before `state_dict`, as for a defense that remembers."""
        for free in self.free.values():
            free.gather(gather)

    def state_dict(self) -> dict[str, Any]:
        """Multipliers, gamma, and the perturbations as they were last gathered."""
        return {
            "multipliers": dict(self.multipliers),
            "gamma": self.gamma,
            "free": {half: free.state_dict() for half, free in self.free.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.multipliers, self.gamma = dict(state_dict["multipliers"]), state_dict["gamma"]
        for half, free in self.free.items():
            free.load_state_dict(state_dict["free"][half])

    def _step_backbone(self, batch: Batch, optimizer: Optimizer) -> Tensor:
        """One step of the backbone on its own standard loss (Eq. 6). The dilation has no gradient, so the optimizer leaves it."""
        optimizer.zero_grad(set_to_none=True)
        with self.supernet.undilated():
            loss = F.cross_entropy(self.model(batch.x), batch.y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def _descend(
        self, batch: Batch, half: Half, optimizer: Optimizer, progress: Progress, *, still: list[nn.Module]
    ) -> dict[str, Tensor]:
        """One step on what a level minimises over (Eqs. 17, 21), of its perturbation and of its multiplier (Eqs. 18, 22)."""
        optimizer.zero_grad(set_to_none=True)
        with frozen_parameters(nn.ModuleList(still)):
            loss, terms = self.objective(batch, half, progress)
            loss.backward()
        self.free[half].after_backward(self.model)
        optimizer.step()
        if "gap" in terms:
            gap = terms["gap"]
            self.multipliers[half] = ascend(
                self.multipliers[half].to(gap), gap, rho=self.rho, dual_step=self.dual_step
            )
            terms["multiplier"] = self.multipliers[half]
        return terms


def _check(supernet: DilatedSupernet, objectives: Objectives, backbone: Backbone, tau: float) -> None:
    arch = supernet.arch
    if not isinstance(arch, Softmax) or arch.beta is None:
        raise InputError(
            f"arch: expected Softmax with weighed edges for NADAR (Eq. 9), came {type(arch).__name__}"
            f"{' without' if isinstance(arch, Softmax) else ''}; set supernet.arch"
        )
    if objectives == "joint" and backbone == "pretrained_frozen":
        raise InputError("objectives: expected constrained or separate with a frozen backbone, came joint")
    if tau and not any(OPERATIONS[op].convolves for op in supernet.space.operations):
        raise InputError(f"tau: expected 0 where no operation has multiply-adds, came {tau:g}")
