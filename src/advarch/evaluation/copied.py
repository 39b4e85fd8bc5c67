"""The network as attacks of an evaluation ask it: a cheaper copy (`attacks.attack_copy`), where it is the network's equal."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advarch.attacks.agreement import agree, near
from advarch.attacks.attack_copy import AttackCopy
from advarch.types import Images

COMPARED = 32
"""Images on which copy and network are compared."""


def copied(model: nn.Module, x: Images, bf16: bool = False) -> nn.Module | None:
    """A copy of `model` with the weights as they are now; None where there is none that is cheaper and its equal.

    Compared are logits and input gradients on some of `x`, because a trace sees neither `torch.no_grad` nor autocast of the
    network's own. A network that draws random numbers, of which a trace would make constants, is attacked itself.

    Args:
        model: images -> logits, in the state it is attacked in.
        x: images that will be attacked.
        bf16: whether the search is in bfloat16.
    """
    x, device = x[:COMPARED].detach(), x.device.type
    states = random.getstate(), np.random.get_state()  # noqa: NPY002, a network may draw from it
    try:
        forked = torch.random.fork_rng([x.device] if device == "cuda" else [])
        with forked, torch.autocast(device, torch.bfloat16, enabled=bf16):
            if _draws(model, x):
                return None
            made = AttackCopy(model, torch.bfloat16 if bf16 else None)
            copy = made.refresh() if made.held else None
            equal = copy is not None and agree(copy, model, x) and _same_slopes(copy, model, x)
            return copy if equal else None
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@torch.no_grad()
def _draws(model: nn.Module, x: Images) -> bool:
    """Whether a forward pass moves a global stream of random numbers, or answers another thing when asked again."""
    before = _streams(x)
    logits = model(x)
    return not all(map(np.array_equal, before, _streams(x))) or not torch.equal(logits, model(x))


def _streams(x: Tensor) -> list[Any]:
    places = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    found = [torch.get_rng_state().numpy(), places["key"], places["pos"], random.getstate()[1]]
    return [*found, torch.cuda.get_rng_state(x.device).numpy()] if x.device.type == "cuda" else found


def _same_slopes(copy: nn.Module, model: nn.Module, x: Images) -> bool:
    """Whether the input gradients of the log-probabilities' sum agree on each image."""
    expected = _slopes(model, x)
    try:
        found = _slopes(copy, x)
    except Exception:  # of any kind, as in `agree`
        return False
    return found is not None and expected is not None and near(found, expected)


@torch.enable_grad()
def _slopes(model: nn.Module, x: Images) -> Tensor | None:
    """None where the logits depend on the images through no gradient."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf).float()
    if not logits.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(logits.log_softmax(1).sum(), leaf, allow_unused=True)
    return gradient
