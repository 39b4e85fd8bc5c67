"""Whether a copy of a network is its equal but for rounding, and how well half precision keeps a gradient's signs."""

import copy

import torch
from torch import Tensor, nn

from advarch.attacks.attack_copy import AttackCopy
from advarch.attacks.objectives import cross_entropy
from advarch.modes import attack_mode
from advarch.threat import input_gradient
from advarch.types import Images, Labels

FULL_PRECISION, HALF_PRECISION = 0.05, 0.25
"""How far the copy's logits or gradients may be from the network's, as a share of their length. Rounding stays far below; what a trace
can't see, as a forward pass that counts its calls, does not."""


@torch.no_grad()
def agree(copy: nn.Module, network: nn.Module, x: Images) -> bool:
    """Whether the copy's logits are the network's, but for rounding, on each image."""
    # A network that draws random numbers must not move those of the training step; compiled, it would be one more graph.
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        expected = network(x).float()
        try:
            found = copy(x).float()
        # Of any kind: the trace lost what a forward pass does around its layers, as autocast of its own.
        except Exception:
            return False
    return near(found, expected)


def near(found: Tensor, expected: Tensor) -> bool:
    """Whether each row is the other's but for rounding; under autocast all rows together, for there single ones may be far off."""
    half = torch.is_autocast_enabled(expected.device.type)
    found, expected = (value.flatten(0 if half else 1) for value in (found, expected))
    bound = HALF_PRECISION if half else FULL_PRECISION
    return bool(((found - expected).norm(dim=-1) <= bound * expected.norm(dim=-1)).all())


def sign_agreement(network: nn.Module, x: Images, y: Labels, dtype: torch.dtype) -> float:
    """Share of the signs of the cross entropy's input gradient that the copy has under autocast as float64 has them.

    Args:
        network: images -> logits.
        x: images in [0, 1].
        y: labels.
        dtype: autocast's: bfloat16 or float16.
    """
    exact, device = copy.deepcopy(network).double(), x.device.type
    with attack_mode(exact), torch.autocast(device, enabled=False):
        expected, _ = input_gradient(exact, x.double(), y, cross_entropy)
    with attack_mode(network), torch.autocast(device, dtype):
        found, _ = input_gradient(AttackCopy(network, dtype).refresh(), x, y, cross_entropy)
    return float((found.sign() == expected.sign()).float().mean())
