"""Free adversarial training (Shafahi et al. 2019): one backward pass moves weights and perturbation."""

from collections.abc import Callable
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from advarch.defenses.contract import AT_START, TrainStep
from advarch.threat import Threat, check_images
from advarch.types import Attack, Images, Labels, LossOutput


class Free:
    """(1/B) sum CE(f(clip(x + delta)), y); delta <- B(delta + step_size * sign(grad)), then the weights' own step.

    Shafahi et al. 2019, Algorithm 1. clip is to [0, 1] and part of what is differentiated, B is the projection to the
    ball, for l_2 the sign is g / ||g||_2. delta belongs to a place in the batch, not to an image: it is zero once, at
    the start, and is carried from replay to replay and from batch to batch.

    Attributes:
        replays: optimizer steps on each batch in a row, m in the paper.
    """

    def __init__(
        self, threat: Threat, step_size: Annotated[float, Ge(0)], replays: Annotated[int, Ge(1)] = 8
    ) -> None:
        """Remember the settings.

        Args:
            threat: the ball.
            step_size: length of the perturbation's step, in units of pixels in [0, 1]; eps in the paper.
            replays: see the class.
        """
        self.threat, self.step_size, self.replays = threat, step_size, replays
        self._delta: Tensor | None = None
        self._leaf: Tensor | None = None
        self._whole: Tensor | None = None
        self._rank, self._world_size, self._device = 0, 1, torch.device("cpu")

    def __call__(
        self,
        model: nn.Module,
        x: Images,
        y: Labels,
        *,
        attack: Attack | None = None,
        step: TrainStep = AT_START,
    ) -> LossOutput:
        """The loss at the perturbed images; `after_backward` then moves the perturbation.

        Args:
            model: the network, in training mode.
            x: images in [0, 1].
            y: labels.
            attack: not run.
            step: not used: nothing here is drawn at random.
        """
        del attack, step
        check_images(x)
        self._leaf = self._places(x).clone().requires_grad_()
        logits = model((x + self._leaf).clamp(0.0, 1.0))
        loss = F.cross_entropy(logits, y)
        return LossOutput(loss, logits.detach(), {"ce_adv": loss.detach()}, adversarial=True)

    def after_backward(self, model: nn.Module) -> None:
        """Move the perturbation along the gradient that the backward pass left; scale and reduction play no part."""
        del model
        leaf, self._leaf = self._leaf, None
        if leaf is None or leaf.grad is None or self._delta is None:
            return
        # Where a scaled loss overflowed, the optimizer skips its step and the perturbation stays as well.
        gradient = leaf.grad.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        moved = leaf.detach() + self.step_size * self.threat.steepest(gradient)
        self._delta[: len(moved)] = self.threat.within(moved)

    def _places(self, x: Tensor) -> Tensor:
        """The perturbation of this batch's places; images of another size begin anew, a larger batch adds places."""
        delta = self._delta
        if delta is None or delta.shape[1:] != x.shape[1:]:
            delta = torch.zeros_like(x)
        elif len(delta) < len(x):
            delta = torch.cat([delta, torch.zeros_like(x[len(delta) :])])
        self._delta = delta
        return delta[: len(x)]

    def start(self, *, images: int, device: torch.device, rank: int, world_size: int) -> None:
        """Begin without a perturbation, as the process of that rank."""
        del images
        self._delta = self._leaf = self._whole = None
        self._rank, self._world_size, self._device = rank, world_size, device

    def gather(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Put the places of all processes together in the order in which one process would have them."""
        if self._delta is None:
            self._whole = None
            return
        # Process r holds places r, r + world_size, ... of the whole batch, as the loader deals them.
        self._whole = gather(self._delta).transpose(0, 1).flatten(0, 1)

    def state_dict(self) -> dict[str, Any]:
        """The perturbation of the whole batch; it does not depend on the number of processes."""
        return {"delta": self._whole}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this process's places, whatever the number of processes was."""
        whole: Tensor | None = state_dict["delta"]
        if whole is not None:
            self._delta = whole[self._rank :: self._world_size].to(self._device, copy=True)
