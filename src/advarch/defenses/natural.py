"""Training on clean images only."""

from torch import nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.defenses.label_smoothing import Smoothing, smoothed_cross_entropy
from advarch.types import Attack, Images, Labels, LossOutput


def natural(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack | None = None,
    label_smoothing: Smoothing = None,
    step: TrainStep = AT_START,
) -> LossOutput:
    """Cross entropy on clean images: (1/B) sum CE(f(x), y), its labels smoothed on request. The attack is never run."""
    del attack, step
    logits = model(x)
    loss = smoothed_cross_entropy(logits, y, label_smoothing)
    return LossOutput(loss, logits.detach(), {"ce": loss.detach()}, adversarial=False)
