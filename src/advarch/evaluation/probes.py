"""The honesty flags that need the network: short experiments on a few images. Each returns whether its flag is raised."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from advarch.attacks.objectives import margin
from advarch.errors import InputError
from advarch.evaluation.trials import eps0_not_clean, logit_scale, unbounded_not_zero
from advarch.modes import attack_mode, frozen_parameters
from advarch.threat import Threat
from advarch.types import Labels

PROBE_IMAGES = 100
"""Images that the probes look at: enough to see a masked gradient, cheap beside a suite."""


def probe(model: nn.Module, x: Tensor, y: Labels, *, threat: Threat, seed: int) -> tuple[str, ...]:
    """The flags that the network raises on at most 100 of these images.

    Args:
        model: images in [0, 1] -> logits; attacked in eval mode.
        x: images.
        y: labels.
        threat: the ball of the evaluation.
        seed: of the probes' random starts.

    Raises:
        InputError: a part of the network stays in training mode.
    """
    x, y = x[:PROBE_IMAGES], y[:PROBE_IMAGES]
    with attack_mode(model, "eval"):
        refuse_train_mode(model)
        if random_outputs(model, x):
            # What follows compares verdicts, which mean nothing here.
            return ("random_outputs",)
        flags = [
            name
            for name, raised in (
                ("softmax_output", softmax_output(model, x)),
                ("gradient_in_forward", gradient_in_forward(model, x)),
            )
            if raised
        ]
        if detached_input(model, x):
            return (*flags, "detached_input")
        if eps0_not_clean(model, x, y, threat):
            flags.append("eps0_not_clean")
        if zero_gradients(model, x, y):
            flags.append("zero_gradients")
        if "softmax_output" not in flags and logit_scale(model, x, y, threat, seed):
            flags.append("logit_scale")
        if unbounded_not_zero(model, x, y, threat, seed):
            flags.append("unbounded_not_zero")
    return tuple(flags)


def refuse_train_mode(model: nn.Module) -> None:
    """A network in training mode is refused, not flagged.

    Raised if a module is in training mode after `model.eval()`: one that overrides `train`, most likely.
    Explanation: batch statistics and dropout make each verdict depend on the other images and on chance.

    Raises:
        InputError: such a module.
    """
    for name, module in model.named_modules():
        if module.training:
            raise InputError(
                f"model: expected a network in evaluation mode, came {name or 'the network'} "
                f"({type(module).__name__}) in training mode after model.eval(); don't override train()"
            )


def random_outputs(model: nn.Module, x: Tensor) -> bool:
    """Whether the network is a function of its input.

    Raised if, in five forward passes of the same images, a label changes or normalised logits differ by over 1e-4 (the
    check of AutoAttack).
    Explanation: against a network that draws random numbers, a gradient is one draw and a verdict is luck; it takes an
    attack on the expectation (AutoAttack rand).
    """
    with torch.no_grad():
        first = model(x)
        scale = first.abs().amax().clamp(min=1e-12)
        for _ in range(4):
            again = model(x)
            if (again.argmax(1) != first.argmax(1)).any() or ((again - first).abs().amax() / scale) > 1e-4:
                return True
    return False


def softmax_output(model: nn.Module, x: Tensor) -> bool:
    """Whether the network returns probabilities.

    Raised if all outputs lie in [0, 1] and each image's sum to 1 within 1e-5.
    Explanation: a cross-entropy on probabilities takes the softmax twice, and confident images have no gradient left.
    """
    with torch.no_grad():
        out = model(x).float()
    return bool(((out >= 0) & (out <= 1)).all() and ((out.sum(1) - 1.0).abs() < 1e-5).all())


def detached_input(model: nn.Module, x: Tensor) -> bool:
    """Whether there is a gradient at all.

    Raised if the logits do not require a gradient when the images do.
    Explanation: somewhere the input is detached (`.detach()`, `.data`, `torch.no_grad()`, numpy), so every white-box
    attack returns its start.
    """
    with torch.enable_grad(), frozen_parameters(model):
        return not model(x.detach().requires_grad_()).requires_grad


def zero_gradients(model: nn.Module, x: Tensor, y: Labels) -> bool:
    """Whether the margin has a slope.

    Raised if the gradient of the margin max_{j != y} z_j - z_y, the numerator of AutoAttack's DLR loss, is exactly zero in
    every pixel of an image. The margin is not squashed, so confidence alone does not raise this flag.
    Explanation: rounding, thresholds or lookups in the network (a quantised input) hide the slope that is there.
    """
    with torch.enable_grad(), frozen_parameters(model):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(margin(model(x), y).sum(), x)
    return bool((gradient.flatten(1).abs().amax(1) == 0).any())


def gradient_in_forward(model: nn.Module, x: Tensor) -> bool:
    """Whether answering takes an optimisation.

    Raised if the forward pass calls autograd (`torch.autograd.grad` or `backward`).
    Explanation: a defense that optimises while it answers needs an attack that goes through that optimisation.
    """
    with _autograd_calls() as calls, torch.enable_grad():
        model(x[:2].detach().requires_grad_())
    return bool(calls)


@contextmanager
def _autograd_calls() -> Iterator[list[str]]:
    """Counts entries into the autograd engine; both public functions and `Tensor.backward` go through one."""
    calls: list[str] = []
    engine: Any = torch.autograd
    names = [name for name in ("_engine_run_backward", "grad", "backward") if hasattr(engine, name)]
    originals = {name: getattr(engine, name) for name in names}

    def counting(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            calls.append(name)
            return originals[name](*arguments, **settings)

        return call

    try:
        for name in names:
            setattr(engine, name, counting(name))
        yield calls
    finally:
        for name, original in originals.items():
            setattr(engine, name, original)
