"""Activations by name: ReLU and the smooth ones of smooth adversarial training (Xie et al. 2020)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal[
    "relu", "silu", "swish", "gelu", "elu", "softplus", "mish", "leaky_relu", "prelu", "smooth_relu"
]


class SmoothReLU(nn.Module):
    """max(0, x - log(beta |x| + 1) / beta), beta = root^2 with one learnable root that starts at 20 (Xie et al. 2020).

    Its slope beta x / (beta x + 1) for x > 0 is continuous at 0; for beta to infinity it is ReLU.
    """

    def __init__(self, root: float = 20.0) -> None:
        super().__init__()
        self.root = nn.Parameter(torch.tensor(root))

    def forward(self, x: Tensor) -> Tensor:
        beta = self.root.square()
        # Where x is negative the inner value is too, and its slope does not count.
        return torch.relu(x - torch.log1p(beta * x.abs()) / beta)


_MAKERS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "mish": nn.Mish,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),  # the slope of Madry et al.'s network
    "prelu": nn.PReLU,
    "smooth_relu": SmoothReLU,
}

PLAIN = (nn.ReLU, nn.SiLU, nn.GELU, nn.ELU, nn.Softplus, nn.Mish, nn.LeakyReLU)
"""Those that are the same function everywhere: they have no parameter."""


def make_activation(name: Activation | None) -> nn.Module:
    """A new activation of that name; None is relu. `prelu` and `smooth_relu` have one learnable number each.

    Raises:
        ValueError: no such name.
    """
    if name is not None and name not in _MAKERS:
        raise ValueError(f"activation: expected one of {', '.join(_MAKERS)}, came {name!r}")
    return _MAKERS[name or "relu"]()
