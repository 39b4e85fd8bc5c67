"""The network as the compiler makes it: the same function up to rounding, faster. Attacks search on it, verdicts don't."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor, nn

from advarch.types import LogitsFn


@lru_cache(maxsize=1)
def compiled(model: nn.Module) -> LogitsFn:
    """`model` through torch.compile, its weights shared, so that loading others needs nothing more.

    Compiled at the first call with and the first without gradient, for all batch sizes: one image is doubled, because
    torch would compile for it apart. Where compiling fails (as a rule no C++ compiler), a warning says so once, and the
    network runs as it is.
    """
    fast = torch.compile(model, dynamic=True)
    failed = False

    def logits(x: Tensor) -> Tensor:
        nonlocal failed
        if not failed:
            try:
                # Attacks hand over images of several strides, and torch would compile for each of them.
                rows = torch.cat((x, x)) if len(x) == 1 else x.clone(memory_format=torch.contiguous_format)
                found: Tensor = fast(rows)[: len(x)]
                return found
            except torch._dynamo.exc.TorchDynamoException as error:
                failed = True
                reason = str(error).strip().splitlines()[0]
                warnings.warn(f"evaluation.compile: the network runs uncompiled: {reason}", stacklevel=2)
        plain: Tensor = model(x)
        return plain

    return logits
