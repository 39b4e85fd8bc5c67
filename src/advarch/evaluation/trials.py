"""The honesty flags that take a short attack: each returns whether its flag is raised."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.attacks.objectives import margin
from advarch.attacks.pgd import pgd
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat
from advarch.types import Labels

GAPS = (1.0, 10.0)
"""Median gaps between the two largest logits to which saturated logits are brought.

At 1 the softmax is so soft that PGD-10 pushes down all other classes at once and fools fewer images than at 10; at 10 the images
whose gap is many times the median may still be saturated. Either way the fooled images are real.
"""


def logit_scale(model: nn.Module, x: Tensor, y: Labels, threat: Threat, seed: int) -> bool:
    """Whether a verdict depends on the units of the logits.

    Raised if PGD-10 on the cross-entropy fools over 2 points (and over two images) more when the logits are shifted by
    -100, or scaled down so that the median gap between the two largest is 1 or 10.
    Explanation: the label does not change when logits are shifted or multiplied. The softmax of saturated logits is exactly
    0 or 1 in single precision and has no gradient, so robustness vanishes with the scale (Carlini and Wagner 2017).
    """
    with torch.no_grad():
        top = model(x).float().topk(2, dim=1).values
    gap = float((top[:, 0] - top[:, 1]).median())
    plain = _standing(model, x, y, threat, seed)
    # Down only: a hesitant network has no saturation to undo.
    factors = [wanted / gap for wanted in GAPS if wanted < gap]
    for factor, shift in [(1.0, -100.0)] + [(factor, 0.0) for factor in factors]:
        more = plain - _standing(_Changed(model, factor, shift), x, y, threat, seed)
        if more > 2 and 100.0 * more / len(x) > 2.0:
            return True
    return False


def eps0_not_clean(model: nn.Module, x: Tensor, y: Labels, threat: Threat) -> bool:
    """Whether an attack without room does nothing.

    Raised if a verdict after PGD of radius 0 differs from the clean one.
    Explanation: then it is the attack's surroundings that change verdicts (training mode, a second normalisation), and part
    of every measured loss of accuracy is not adversarial.
    """
    nothing = Threat(threat.norm, 0.0)
    x_adv = pgd(model, x, y, threat=nothing, steps=2, step_size=0.1, start=None)
    with torch.no_grad():
        return bool((model(x_adv).argmax(1) != model(x).argmax(1)).any())


def unbounded_not_zero(model: nn.Module, x: Tensor, y: Labels, threat: Threat, seed: int) -> bool:
    """Whether an attack that may do anything succeeds.

    Raised if PGD on the margin, 50 steps over the whole box and two starts, leaves an image standing.
    Explanation: inside the box lies an image of every class. Who cannot reach any is not looking in the right direction
    (Carlini et al. 2019).
    """
    reach = 1.0 if threat.linf else float(x[0].numel()) ** 0.5
    box = Threat(threat.norm, reach, allow_large_eps=True)
    # The step shrinks: large ones leave plateaus, small ones end the search.
    for step_size in (reach / 10, reach / 50):
        generator = ExampleGenerator(derive_seed(seed, "unbounded"), torch.arange(len(x), device=x.device))
        x_adv = pgd(
            model,
            x,
            y,
            threat=box,
            steps=50,
            step_size=step_size,
            objective=margin,
            restarts=2,
            stop_on_success=True,
            generator=generator,
        )
        with torch.no_grad():
            standing = model(x_adv).argmax(1) == y
        x, y = x[standing], y[standing]
        if not len(x):
            return False
    return True


class _Changed(nn.Module):
    """The network with its logits multiplied (by more than 0) and shifted, which keeps every label."""

    def __init__(self, model: nn.Module, factor: float, shift: float) -> None:
        super().__init__()
        self.model, self.factor, self.shift = model, factor, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.model(x) + self.shift


def _standing(model: nn.Module, x: Tensor, y: Labels, threat: Threat, seed: int) -> int:
    generator = ExampleGenerator(derive_seed(seed, "scale"), torch.arange(len(x), device=x.device))
    step_size = threat.eps / 4
    x_adv = pgd(
        model, x, y, threat=threat, steps=10, step_size=step_size, objective=_as_it_is, generator=generator
    )
    with torch.no_grad():
        return int((model(x_adv).argmax(1) == y).sum())


def _as_it_is(logits: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy in the precision of the logits, as common attacks take it."""
    return F.cross_entropy(logits, y, reduction="none")
