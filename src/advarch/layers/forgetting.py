"""Less memory for the backward pass, by computing the forward pass twice (Chen et al. 2016)."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def forgetting(module: nn.Module, *given: Any) -> Tensor:
    """A module's output; what lies between is computed again in the backward pass."""
    if not torch.is_grad_enabled():
        return module(*given)
    return checkpoint(
        module, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), StatisticsKept(module))
    )


class StatisticsKept:
    """Meanwhile a forward pass in training uses the batch's statistics and leaves the running ones as they are."""

    def __init__(self, module: nn.Module) -> None:
        self.norms = [norm for norm in module.modules() if isinstance(norm, _NormBase) and norm.training]
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, tracked) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
