"""Training on clean images only."""

import torch.nn.functional as F
from torch import nn

from advarch.defenses.contract import TrainStep
from advarch.types import Attack, Images, Labels, LossOutput


def natural(
    model: nn.Module, x: Images, y: Labels, *, attack: Attack | None = None, step: TrainStep = TrainStep()
) -> LossOutput:
    """Cross entropy on clean images: (1/B) sum CE(f(x), y). The attack is never run."""
    del attack, step
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    return LossOutput(loss, logits.detach(), {"ce": loss.detach()}, adversarial=False)
