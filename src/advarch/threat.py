"""What an adversary may do: a ball around each image, inside the box [0, 1]."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from advarch.noise import Generator, normal, uniform

_NAMES = {"inf": math.inf, "linf": math.inf, "2": 2.0, "l2": 2.0}


@dataclass(frozen=True)
class Threat:
    """The set {x' in [0, 1]^d : ||x' - x||_norm <= eps}, the ball of an l_inf or l_2 adversary.

    Args:
        norm: inf or 2 (also written linf, l2).
        eps: radius, in units of pixels in [0, 1]: 8/255, not 8.
        allow_large_eps: admit eps >= 1, which for l_inf is the whole box and in most cases a slip of the unit.
    """

    norm: str | int | float
    eps: Annotated[float, Ge(0)]
    allow_large_eps: bool = False

    def __post_init__(self) -> None:
        norm = _NAMES.get(str(self.norm).lower().removesuffix(".0"))
        if norm is None:
            raise ValueError(f"norm: expected inf or 2, came {self.norm!r}")
        object.__setattr__(self, "norm", norm)
        if not self.eps >= 0 or (self.eps >= 1 and not self.allow_large_eps) or math.isinf(self.eps):
            # Lengths of 1 and more are common in l_2, grey levels are not.
            advice = (
                f"write {self.eps:g}/255 for {self.eps:g} of 255 grey levels (in YAML: ${{px:{self.eps:g}}}), "
                "or allow_large_eps=true if you mean it"
                if self.linf
                else "allow_large_eps=true if you mean an l_2 length of 1 (one pixel from black to white) or more"
            )
            raise ValueError(
                f"eps: expected a radius in [0, 1) in units of pixels in [0, 1], came {self.eps:g}; {advice}"
            )

    @property
    def linf(self) -> bool:
        """Whether the ball is an l_inf ball (else l_2)."""
        return self.norm == math.inf

    def with_radii(self, eps: Tensor) -> "Threat":
        """A ball of its own radius around each image of a batch: `eps` (batch,), in units of pixels in [0, 1]."""
        each = copy.copy(self)
        # Every method broadcasts, so a tensor stands where a number does; the checks above are of what a person wrote.
        object.__setattr__(each, "eps", eps.view(-1, 1, 1, 1))
        return each

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball around `x`, then of the box (for l_inf that is the nearest point of both)."""
        return (x + self.within(x_adv - x)).clamp(0.0, 1.0)

    def within(self, delta: Tensor) -> Tensor:
        """The nearest perturbation of the ball."""
        if self.linf:
            return delta.clamp(-self.eps, self.eps)
        return delta * (self.eps / _lengths(delta).clamp(min=1e-12)).clamp(max=1.0)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of length one (in this norm) along which a linear function rises most.

        sign(g) for l_inf, g / ||g||_2 for l_2; zero where the gradient is zero.
        """
        if self.linf:
            return gradient.sign()
        # Scaled first: the squares of a saturated network's tiny gradients would vanish in float32.
        scale = gradient.flatten(1).abs().amax(1).view(-1, *[1] * (gradient.ndim - 1))
        scaled = gradient / torch.where(scale > 0, scale, 1.0)
        return scaled / _lengths(scaled).clamp(min=1.0)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """||x_adv - x|| of each example, (batch,)."""
        delta = (x_adv - x).flatten(1)
        return delta.abs().amax(1) if self.linf else delta.norm(dim=1)


Start = Callable[[Tensor, Threat, Generator | None], Tensor]
"""(x, threat, generator) -> the point at which an iterative attack begins."""


def uniform_start(x: Tensor, threat: Threat, generator: Generator | None = None) -> Tensor:
    """A point uniform in the ball, clipped to the box.

    l_inf: x + U(-eps, eps) per pixel. l_2: a uniform direction times eps * U(0, 1)^(1/d).
    """
    if threat.linf:
        return (x + (2.0 * uniform(x, generator) - 1.0) * threat.eps).clamp(0.0, 1.0)
    direction = threat.steepest(normal(x, generator))
    radius = uniform(x[:, :1, :1, :1], generator) ** (1.0 / x.shape[1:].numel())
    return (x + threat.eps * radius * direction).clamp(0.0, 1.0)


def gaussian_start(
    x: Tensor, threat: Threat, generator: Generator | None = None, *, std: float = 0.001
) -> Tensor:
    """x + std * N(0, 1), projected to the ball and the box: the start of TRADES and MART with std 0.001."""
    return threat.project(x + std * normal(x, generator), x)


def check_images(x: Tensor) -> None:
    """Refuse what is not a batch of images in [0, 1]. Normalisation belongs inside the model.

    Raises:
        ValueError: wrong rank, integer images, or values outside [0, 1] or not finite.
    """
    if x.ndim != 4:
        raise ValueError(f"expected images (batch, channel, height, width), came shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"expected float images in [0, 1], came {x.dtype}; divide 8-bit images by 255")
    if not x.numel():
        return
    # One question to the device: each makes a GPU's queue run dry.
    least, most = torch.stack((x.amin(), x.amax())).tolist()
    if not (0.0 <= least and most <= 1.0):
        if not (math.isfinite(least) and math.isfinite(most)):
            raise ValueError("expected images in [0, 1], came NaN or infinity; mend or remove those images")
        raise ValueError(
            f"expected images in [0, 1], came values from {least:.4g} to {most:.4g}; put normalisation inside the model"
        )


def input_gradient(
    model: Any, x: Tensor, y: Tensor, objective: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The gradient of the summed objective with respect to the images, and the logits it was taken at.

    A sum, not a mean: each example's gradient is then the same in every batch. `torch.autograd.grad` leaves every
    parameter's `.grad` untouched.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "a gradient attack can't run under torch.inference_mode(); use torch.no_grad() or nothing"
        )
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        (gradient,) = torch.autograd.grad(objective(logits, y).sum(), x)
    return gradient, logits.detach()


def _lengths(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
