"""The state a model is in while it is attacked, and its exact restoration."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from advarch.layers.auxiliary import not_collecting

BatchNormMode = Literal["eval", "train", "train_frozen_stats"]
"""How a defense runs batch normalisation while it crafts adversarial examples.

eval: running statistics, as TRADES does and most of the papers' codes; the default.
train: every module as found, so each attack step also moves the running statistics, as Madry's and RobNet's codes do.
train_frozen_stats: batch statistics, but the running ones stay as they are.
"""


@contextmanager
def frozen_parameters(model: Any) -> Iterator[None]:
    """No parameter asks for a gradient meanwhile; afterwards each does as before.

    It saves the weight gradients under `torch.compile`, whose backward graph holds them even when only the input
    gradient is asked for.
    """
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    flags = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)


class _StandIn:
    """What is attacked in a network's place at the moment."""

    of: nn.Module | None = None
    make: Callable[[], nn.Module] = nn.Identity


@contextmanager
def attacked_as(model: nn.Module, make: Callable[[], nn.Module]) -> Iterator[None]:
    """In this block `attack_mode(model, "eval")` gives `make()`, the same function of the images, in the model's place."""
    before = _StandIn.of, _StandIn.make
    _StandIn.of, _StandIn.make = model, make
    try:
        yield
    finally:
        _StandIn.of, _StandIn.make = before


@contextmanager
def attack_mode(model: nn.Module, bn_mode: BatchNormMode = "eval") -> Iterator[nn.Module]:
    """Put `model` in the state it is attacked in; restore every module's flags exactly, frozen ones included.

    No auxiliary head runs meanwhile. What it gives is to be attacked: the model, or what stands in for it (`attacked_as`).
    """
    modules = list(model.modules())
    training = [module.training for module in modules]
    norms = [module for module in modules if isinstance(module, _NormBase)]
    tracking = [(norm.track_running_stats, norm.momentum) for norm in norms]
    try:
        if bn_mode == "eval":
            model.eval()
        elif bn_mode == "train_frozen_stats":
            for norm in norms:
                # A norm in training mode that does not track uses the batch's statistics and writes nothing.
                norm.track_running_stats = norm.track_running_stats and not norm.training
                if isinstance(norm, _InstanceNorm):
                    # It hands its running statistics to the kernel whether it tracks or not; with momentum 0 they stay.
                    norm.track_running_stats, norm.momentum = True, 0.0
        elif bn_mode != "train":
            raise ValueError(f"bn_mode: expected eval, train or train_frozen_stats, came {bn_mode!r}")
        with frozen_parameters(model), not_collecting():
            stands_in = _StandIn.of is model and bn_mode == "eval"
            yield _StandIn.make() if stands_in else model
    finally:
        for module, flag in zip(modules, training, strict=True):
            module.training = flag
        for norm, (flag, momentum) in zip(norms, tracking, strict=True):
            norm.track_running_stats, norm.momentum = flag, momentum
