"""Instance-adaptive adversarial training (Balaji et al. 2019): every image has a budget of its own, which grows while it holds."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from advarch.defenses.contract import TrainStep, name_of
from advarch.defenses.label_smoothing import Smoothing
from advarch.defenses.pgd_at import pgd_at
from advarch.errors import InputError
from advarch.modes import BatchNormMode, attack_mode
from advarch.noise import child
from advarch.types import Attack, Images, Labels, LossOutput


class IAAT:
    """Cross entropy on adversarial images, each in a ball of its own radius: (1/B) sum CE(f(x'_i), y_i), ||x'_i - x_i|| <= eps_i.

    During warm-up eps_i is `eps` where the clean image is classified correctly, else 0. Then two attacks test the image,
    at eps_i and at eps_i + gamma: the new radius is eps_i + gamma if it withstands the second, eps_i if only the first, else
    eps_i - gamma; 0 if the clean image is misclassified; never below 0. It enters smoothly:
    eps_i <- beta * new + (1 - beta) * eps_i (Balaji et al. 2019, Algorithm 2, with the clean test of the authors' code).

    Attributes:
        radii: eps_i of every training image, (images,), in units of pixels in [0, 1].
        touched: whether this process changed a radius since the last `gather`, (images,), 0 or 1.
    """

    def __init__(
        self,
        *,
        eps: Annotated[float, Ge(0)],
        gamma: Annotated[float, Ge(0)],
        beta: Annotated[float, Interval(ge=0, le=1)] = 0.1,
        warm_up: Annotated[float, Ge(0)] = 10 / 110,
        bn_mode: BatchNormMode = "train",
        label_smoothing: Smoothing = None,
    ) -> None:
        """Set the rule.

        Args:
            eps: radius during warm-up, in units of pixels in [0, 1].
            gamma: by how much a radius is tested and moved, in the same units.
            beta: weight of the new radius.
            warm_up: end of the warm-up, below 1 a share of the run, one epoch at least, else an epoch counted from 0; 0: none.
            bn_mode: batch normalisation while testing and attacking.
            label_smoothing: share of the label spread over all classes, in the loss only; None spreads nothing.
        """
        self.eps, self.gamma, self.beta, self.warm_up, self.bn_mode = eps, gamma, beta, warm_up, bn_mode
        self.label_smoothing = label_smoothing
        self.radii, self.touched = torch.zeros(0), torch.zeros(0, dtype=torch.uint8)

    def __call__(
        self, model: nn.Module, x: Images, y: Labels, *, attack: Attack, step: TrainStep
    ) -> LossOutput:
        """The loss at the images' radii of this step, which are remembered.

        Args:
            model: the network, in training mode.
            x: images in [0, 1].
            y: labels.
            attack: `attacks.instance_pgd`, its threat bound.
            step: where in training this is, with the images' indices.

        Raises:
            InputError: the attack takes no radii.
        """
        refuse_one_radius(attack)
        assert step.index is not None
        with attack_mode(model, self.bn_mode) as attacked:
            radii = self._new_radii(attacked, x, y, attack, step, self.radii[step.index])
        self.radii[step.index], self.touched[step.index] = radii, 1
        within = partial(attack, eps=radii)
        output = pgd_at(
            model, x, y, attack=within, bn_mode=self.bn_mode, label_smoothing=self.label_smoothing, step=step
        )
        return output._replace(terms=output.terms | {"radius": radii.mean()})

    def _new_radii(
        self, model: nn.Module, x: Tensor, y: Tensor, attack: Attack, step: TrainStep, old: Tensor
    ) -> Tensor:
        with torch.no_grad():
            clean = model(x).argmax(1) == y
        # Radii begin at 0 and grow slowly: rounded to no warm-up at all, a short run would train on clean images.
        if self.warm_up and not step.reached(max(self.warm_up, 1 / step.epochs)):
            return self.eps * clean.to(old)
        withstood = []
        for name, radii in (("raised", old + self.gamma), ("kept", old)):
            x_adv = attack(model, x, y, eps=radii, generator=child(step.generator, name))
            with torch.no_grad():
                withstood.append(model(x_adv).argmax(1) == y)
        raised, kept = withstood
        lowered = torch.where(kept, old, old - self.gamma)
        new = torch.where(raised, old + self.gamma, lowered) * clean
        return self.beta * new.clamp(min=0.0) + (1.0 - self.beta) * old

    def start(self, *, images: int, device: torch.device, rank: int, world_size: int) -> None:
        """Every radius begins at 0, as in the authors' code; the warm-up overwrites it."""
        del rank, world_size
        self.radii = torch.zeros(images, device=device)
        self.touched = torch.zeros(images, dtype=torch.uint8, device=device)

    def gather(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Take each radius from the process that changed it: within an epoch every image is in one process only."""
        radii, touched = gather(self.radii), gather(self.touched)
        latest = radii.gather(0, touched.argmax(0, keepdim=True)).squeeze(0)
        self.radii = torch.where(touched.amax(0) > 0, latest, self.radii)
        self.touched = torch.zeros_like(self.touched)

    def state_dict(self) -> dict[str, Any]:
        """The radii."""
        return {"radii": self.radii.clone()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the radii back."""
        self.radii = state_dict["radii"].to(self.radii, copy=True)


def refuse_one_radius(attack: Attack) -> None:
    """Raises InputError for an attack that takes no radius for each image."""
    taken = inspect.signature(attack).parameters
    if "eps" not in taken and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        raise InputError(
            f"attack: expected one that takes a radius for each image, came {name_of(attack)}; set attack=instance_pgd"
        )
