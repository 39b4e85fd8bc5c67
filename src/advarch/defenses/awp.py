"""AWP (Wu et al. 2020): the loss at the worst weights nearby, around any defense that runs the attack."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, distributed, nn

from advarch.defenses.contract import (
    AT_START,
    AfterBackward,
    Remembers,
    TrainStep,
    name_of,
    replays,
    runs_attack,
)
from advarch.layers.auxiliary import not_collecting
from advarch.types import Attack, Images, Labels, LossOutput


class AWP:
    """min_w L(w + v(w)), v = gamma ||w|| g / ||g|| layer by layer, g = grad_w L(w), L the base's loss at fixed x'.

    Wu et al. 2020, with one step for v as in the authors' code. x' is made once, at w. Layers are the parameters
    of more than one dimension; the others, biases and normalisation, stay. `after_backward` brings w back to the byte,
    so the optimizer applies the gradient taken at w + v to w.
    """

    def __init__(
        self,
        base: Callable[..., LossOutput],
        gamma: Annotated[float, Ge(0)],
        warmup_epochs: Annotated[int, Ge(0)] = 0,
    ) -> None:
        """Remember the settings.

        Args:
            base: the defense whose loss it is.
            gamma: length of v in units of the layer's own length.
            warmup_epochs: epochs of the base alone before the first perturbation.

        Raises:
            ValueError: a base that remembers, acts after the backward pass, replays batches or makes its own images.
        """
        if isinstance(base, (Remembers, AfterBackward)) or replays(base) > 1 or not runs_attack(base):
            raise ValueError(
                f"base: expected a plain defense that runs the attack, as pgd_at, trades and mart do, came {name_of(base)}, "
                "which can't be run twice on the same images; choose one with defense@defense.base=pgd_at"
            )
        self.base, self.gamma, self.warmup_epochs = base, gamma, warmup_epochs
        self._kept: list[tuple[nn.Parameter, Tensor]] = []

    def __call__(
        self, model: nn.Module, x: Images, y: Labels, *, attack: Attack, step: TrainStep = AT_START
    ) -> LossOutput:
        """The base's loss at w + v; until `after_backward` the model holds w + v.

        Args:
            model: the network, in training mode.
            x: images in [0, 1].
            y: labels.
            attack: the inner maximisation, run once.
            step: where in training this is.
        """
        self.after_backward(model)
        if step.epoch < self.warmup_epochs:
            return self.base(model, x, y, attack=attack, step=step)
        once = _Once(model, attack)
        with not_collecting():
            output = self.base(model, x, y, attack=once.craft, step=step)
        weights = [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]
        gradients = torch.autograd.grad(output.total, weights, allow_unused=True)
        self._perturb([(w, g) for w, g in zip(weights, gradients, strict=True) if g is not None])
        try:
            return self.base(model, x, y, attack=once.repeat, step=step)
        except BaseException:
            self.after_backward(model)
            raise

    @torch.no_grad()
    def _perturb(self, layers: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
        for weight, gradient in layers:
            self._kept.append((weight, weight.clone()))
            weight.add_(layer_perturbation(weight, _of_all_processes(gradient), self.gamma))
        # Autocast keeps the half-precision copies of w from the first loss, and does not see that w has changed.
        torch.clear_autocast_cache()

    @torch.no_grad()
    def after_backward(self, model: nn.Module) -> None:
        """Bring the weights back to the byte; nothing where nothing is perturbed."""
        del model
        for weight, kept in self._kept:
            weight.copy_(kept)
        self._kept = []


def layer_perturbation(weight: Tensor, gradient: Tensor, gamma: float) -> Tensor:
    """v = gamma ||w|| g / ||g||, l_2 over the whole layer; zero where the gradient is zero or not finite."""
    length = gradient.norm()
    usable = length.isfinite() & (length > 0)
    return torch.where(usable, gamma * weight.norm() * gradient / length, 0.0)


def _of_all_processes(gradient: Tensor) -> Tensor:
    """The sum over the processes: each has a share of the batch, and all must perturb the same way."""
    if distributed.is_available() and distributed.is_initialized():
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
    return gradient


class _Once:
    """An attack that is run in the base's first call and repeated in its second.

    With the images it keeps the buffers as they were once the images were made, and brings them back before the second
    loss: the running statistics are moved by the crafting and by the loss that is trained on, never by the one between.
    """

    def __init__(self, network: nn.Module, attack: Attack) -> None:
        # What is attacked may be a copy, whose buffers are not all of the network's.
        self.network, self.attack = network, attack
        self.made: list[Tensor] = []
        self.buffers: list[Tensor] = []

    def craft(self, model: nn.Module, x: Tensor, y: Tensor, /, **options: Any) -> Tensor:
        x_adv = self.attack(model, x, y, **options)
        self.made.append(x_adv)
        self.buffers = [buffer.clone() for buffer in self.network.buffers()]
        return x_adv

    @torch.no_grad()
    def repeat(self, model: nn.Module, x: Tensor, y: Tensor, /, **options: Any) -> Tensor:
        del model, x, y, options
        for buffer, kept in zip(self.network.buffers(), self.buffers, strict=True):
            buffer.copy_(kept)
        return self.made.pop(0)
