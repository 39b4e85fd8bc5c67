"""The difference-of-logits-ratio objectives of Croce and Hein (2020), in which scale and shift of the logits cancel."""

import torch
from torch import Tensor

from advarch.attacks.targets import available_targets

_TINY = 1e-12


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """-(z_y - max_{i != y} z_i) / (z_(1) - z_(3) + 1e-12), per example (Croce and Hein 2020, Eq. 6).

    z_(k) is the k-th largest logit. Two classes have no z_(3), and the ratio would be the constant +-1: the plain margin
    max_{i != y} z_i - z_y takes its place.
    """
    logits = _at_least_single(logits)
    available_targets(logits.shape[1], 1)
    top, index = logits.topk(min(3, logits.shape[1]), dim=1)
    other = torch.where(index[:, 0] == y, top[:, 1], top[:, 0])
    lead = logits.gather(1, y[:, None]).squeeze(1) - other
    if logits.shape[1] < 3:
        return -lead
    return -lead / (top[:, 0] - top[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12), per example (Croce and Hein 2020, Eq. 7).

    Three classes have no z_(4): z_(3) stands for it. Two have no z_(3) either: the plain margin z_t - z_y takes the
    ratio's place.

    Args:
        logits: (batch, classes).
        y: labels (batch,).
        target: the wrong class each example is pushed towards (batch,).
    """
    logits = _at_least_single(logits)
    available_targets(logits.shape[1], 1)
    lead = logits.gather(1, y[:, None]).squeeze(1) - logits.gather(1, target[:, None]).squeeze(1)
    if logits.shape[1] < 3:
        return -lead
    top = logits.topk(min(4, logits.shape[1]), dim=1).values
    return -lead / (top[:, 0] - 0.5 * (top[:, 2] + top[:, -1]) + _TINY)


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype.itemsize < 4 else logits
