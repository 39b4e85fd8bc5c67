"""What an attack maximises: functions (logits, y) -> gain per example (batch,)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from advarch.types import Objective


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(z)_y, per example."""
    return F.cross_entropy(logits.float() if logits.dtype.itemsize < 4 else logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} z_j - z_y, per example: positive where the example is misclassified."""
    label = y[:, None]
    others = logits.scatter(1, label, -torch.inf).amax(1)
    return others - logits.gather(1, label).squeeze(1)


def kl_to(reference: Tensor) -> Objective:
    """KL(softmax(reference) || softmax(z)) per example, the objective of TRADES' inner maximisation.

    Args:
        reference: logits of the clean images (batch, classes), detached; the labels are not used.
    """
    target = F.log_softmax(reference.detach().float(), dim=1)

    def divergence(logits: Tensor, y: Tensor) -> Tensor:
        del y
        log_q = F.log_softmax(logits.float(), dim=1)
        return F.kl_div(log_q, target, reduction="none", log_target=True).sum(1)

    return divergence
