"""The network as attacks of an evaluation ask it: a cheaper copy (`attacks.attack_copy`), where it is the network's equal."""

import torch
from torch import Tensor, nn

from advarch.attacks.attack_copy import AttackCopy, agree
from advarch.types import Images, LogitsFn

GRADIENT = 0.05
"""How far the copy's input gradients may be from the network's, as a share of their length; rounding stays far below."""


def copied(model: nn.Module) -> LogitsFn:
    """`model` or its copy, made at the first call of the weights as they are then.

    The copy is taken where logits and input gradients on the first images are the network's but for rounding: a trace does
    not see `torch.no_grad`, and would make a constant of a random number that a forward pass draws. A network that answers
    another thing when asked again is attacked itself.
    """
    asked: nn.Module | None = None

    def logits(x: Tensor) -> Tensor:
        nonlocal asked
        if asked is None:
            asked = _cheaper(model, x.detach())
        return asked(x)

    return logits


def _cheaper(model: nn.Module, x: Images) -> nn.Module:
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    # A network that draws random numbers draws those of the attack afterwards, as without all this.
    with torch.random.fork_rng([x.device] if device == "cuda" else []):
        made = AttackCopy(model, dtype) if _repeats(model, x) else None
        if made is None or not made.held:
            return model
        copy = made.refresh()
        return copy if agree(copy, model, x) and _same_slopes(copy, model, x) else model


@torch.no_grad()
def _repeats(model: nn.Module, x: Images) -> bool:
    return torch.equal(model(x), model(x))


def _same_slopes(copy: nn.Module, model: nn.Module, x: Images) -> bool:
    """Whether the input gradients of the log-probabilities' sum agree."""
    found, expected = (_slopes(each, x) for each in (copy, model))
    if found is None or expected is None:
        return False
    return bool((found - expected).norm() <= GRADIENT * expected.norm())


@torch.enable_grad()
def _slopes(model: nn.Module, x: Images) -> Tensor | None:
    """None where the logits depend on the images through no gradient."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf).float()
    if not logits.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(logits.log_softmax(1).sum(), leaf, allow_unused=True)
    return gradient
