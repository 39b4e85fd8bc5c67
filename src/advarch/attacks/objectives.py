"""What an attack maximises: functions (logits, y) -> gain per example (batch,)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advarch.types import Labels, Logits, Objective, PerExample


def cross_entropy(logits: Logits, y: Labels) -> PerExample:
    """-log softmax(z)_y, per example."""
    return F.cross_entropy(logits.float() if logits.dtype.itemsize < 4 else logits, y, reduction="none")


def margin(logits: Logits, y: Labels) -> PerExample:
    """max_{j != y} z_j - z_y, per example: positive where the example is misclassified."""
    label = y[:, None]
    others = logits.scatter(1, label, -torch.inf).amax(1)
    return others - logits.gather(1, label).squeeze(1)


def kl_to(reference: Logits) -> Objective:
    """KL(softmax(reference) || softmax(z)) per example, the objective of TRADES' inner maximisation.

    Args:
        reference: logits of the clean images (batch, classes), detached; the labels are not used.
    """
    return _Divergence(F.log_softmax(reference.detach().float(), dim=1))


@dataclass(frozen=True, eq=False)
class _Divergence:
    """KL(p || softmax(z)); `log_p` belongs to the examples of one batch, in order."""

    log_p: Tensor

    def __call__(self, logits: Logits, y: Labels) -> PerExample:
        del y
        log_q = F.log_softmax(logits.float(), dim=1)
        return F.kl_div(log_q, self.log_p, reduction="none", log_target=True).sum(1)

    def __getitem__(self, selection: Tensor) -> "_Divergence":
        return _Divergence(self.log_p[selection])


def part(objective: Objective, selection: Tensor) -> Objective:
    """The objective of the selected examples of its batch; one of (logits, y) alone is the same for all."""
    return objective[selection] if isinstance(objective, _Divergence) else objective


def margin_up_to(confidence: float) -> Objective:
    """min(max_{j != y} z_j - z_y, confidence) per example: the margin, of no further use beyond the confidence kappa.

    Up to the constant kappa it is -max(z_y - max_{j != y} z_j + kappa, 0), the hinge f_6 of Carlini and Wagner (2017)
    with its sign changed. The hinge is each example's own; an infinite confidence leaves the plain margin.
    """

    def clipped(logits: Logits, y: Labels) -> PerExample:
        return margin(logits, y).clamp(max=confidence)

    return clipped


def probability_margin(logits: Logits, y: Labels) -> PerExample:
    """max_{j != y} p_j - p_y with p = softmax(z), per example: the margin in probabilities."""
    return margin(_probabilities(logits), y)


def guided_margin(reference: Tensor, weight: float) -> Objective:
    """max_{j != y} p_j - p_y + weight * ||p - p_ref||_2^2 per example (Sriramanan et al. 2020, the loss of GAMA).

    Args:
        reference: logits of the point that guides, (batch, classes), detached; p_ref is their softmax.
        weight: lambda of the paper.
    """
    target = _probabilities(reference.detach())

    def guided(logits: Logits, y: Labels) -> PerExample:
        p = _probabilities(logits)
        return margin(p, y) + weight * (p - target).square().sum(1)

    return guided


def _probabilities(logits: Tensor) -> Tensor:
    return F.softmax(logits.float() if logits.dtype.itemsize < 4 else logits, dim=1)
