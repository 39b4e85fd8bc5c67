"""Optimizers that torch does not have as they are wanted."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor


def sgd_decay_kernels(
    params: Iterable[Tensor],
    *,
    lr: Annotated[float, Ge(0)],
    momentum: Annotated[float, Ge(0)] = 0.0,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """SGD whose weight decay holds for kernels and matrices only.

    Parameters of at most one dimension get none: scale and shift of a normalisation, biases, learnable activations.
    """
    params = list(params)
    kernels = [parameter for parameter in params if parameter.dim() > 1]
    others = [parameter for parameter in params if parameter.dim() <= 1]
    groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=lr, momentum=momentum, nesterov=nesterov
    )
