"""Drop-path: whole branches of a network left out, image by image (Larsson et al. 2017)."""

from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

Probability = Annotated[float, Ge(0), Lt(1)]


class DropPath(nn.Module):
    """x * m / (1 - p) with m = 0 for an image with probability p, else 1; the identity in eval mode.

    p grows with training (`grow_drop_path`) up to `final`. A network puts it on its branches, not on identity edges.

    Args:
        final: the probability that p grows to, in [0, 1).
    """

    probability: Tensor

    def __init__(self, final: Probability) -> None:
        super().__init__()
        if not 0 <= final < 1:
            raise ValueError(
                f"drop_path: expected a probability in [0, 1), came {final}; 0 leaves nothing out"
            )
        self.final = final
        # A tensor, since a number would have a compiled network compiled anew when it changes. Not saved: it follows the epoch.
        self.register_buffer("probability", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        drawn = torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device)
        kept = (drawn >= self.probability) / (1 - self.probability)
        return x * kept.to(x.dtype)


def grow_drop_path(model: nn.Module, share: float) -> None:
    """Set every p to `share` times its final value; share = epoch / epochs, epochs counted from 0, as in DARTS' code."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.probability.fill_(module.final * share)
