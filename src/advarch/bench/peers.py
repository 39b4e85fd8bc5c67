"""Public code that ours is measured beside, as far as it is installed."""

from collections.abc import Callable, Iterable
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INSTALL = {
    "torchattacks": "pip install scipy requests tqdm && pip install --no-deps torchattacks==3.5.1",
    "foolbox": "pip install eagerpy scipy requests GitPython && pip install --no-deps foolbox==3.3.4",
    "pyautoattack": "pip install pyautoattack==0.2.0",
}
"""Peer -> what installs it. The first two pin or name what they hardly use, so they come without their dependencies."""

NAIVE = "naive loop"


def missing(name: str) -> str | None:
    """What to do about a peer that can't be imported; None when it can."""
    try:
        import_module(name)
    except ImportError:
        return f"{name}: peer not installed: {INSTALL[name]}"
    return None


def absent(names: Iterable[str]) -> dict[str, str]:
    """The peers among these that can't be imported -> what to do about it."""
    said = {name: missing(name) for name in names}
    return {name: words for name, words in said.items() if words}


def naive_pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    random_start: bool = True,
) -> Tensor:
    """PGD as four of the five papers' codes write it: fp32, and `backward()`, which also computes every weight's gradient."""
    x_adv = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1) if random_start else x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        F.cross_entropy(model(x_adv), y).backward()
        assert x_adv.grad is not None
        x_adv = torch.min(torch.max(x_adv + step_size * x_adv.grad.sign(), x - eps), x + eps).clamp(0, 1)
    return x_adv.detach()


def foolbox_attack(model: nn.Module, attack: object, eps: float) -> Callable[[Tensor, Tensor], Tensor]:
    """An attack of foolbox as a function (x, y) -> x_adv."""
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=next(model.parameters()).device)
    run: Callable[..., tuple[Tensor, Tensor, Tensor]] = attack  # type: ignore[assignment]
    return lambda x, y: run(wrapped, x, foolbox.criteria.Misclassification(y), epsilons=eps)[1]
