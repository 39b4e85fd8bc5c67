"""What a search method is, and what it is told at each step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from advarch.backbones.dilated_supernet import DilatedSupernet
from advarch.backbones.supernet import Supernet
from advarch.defenses.contract import TrainStep
from advarch.genotype.cell import Genotype
from advarch.noise import ExampleGenerator, derive_seed
from advarch.types import Attack, Batch, LossOutput

Searched = Supernet | DilatedSupernet
"""A network of mixed operations: images -> logits, with `space`, `kinds`, `arch`, `weights()` and `operations()`."""

Parameters = list[nn.Parameter] | list[dict[str, Any]]
"""What an optimizer of torch takes: parameters, or groups of them with options of their own."""


def _alone(value: Tensor) -> Tensor:
    return value


class Batches(NamedTuple):
    """One minibatch of each half of the training images: the one that trains weights, the one that trains the architecture."""

    weights: Batch
    arch: Batch


@dataclass(frozen=True)
class Progress:
    """Where in a search a step is taken; every random number of the step is a function of (seed, step).

    step: steps before this one.
    epoch: time since the start in epochs, with its fraction.
    epochs: of the whole search.
    seed: of the experiment.
    mean: over the processes of the search, of a number that each has of its own images. Gradients are averaged without it;
        a multiplier that follows a loss needs it.
    """

    step: int
    epoch: float
    epochs: int
    seed: int
    mean: Callable[[Tensor], Tensor] = _alone

    def generator(self, purpose: str) -> torch.Generator:
        """The source of the architecture's random numbers at this step."""
        return torch.Generator().manual_seed(derive_seed(self.seed, purpose, self.step))

    def train_step(self, batch: Batch, purpose: str) -> TrainStep:
        """The same as a defense is told it, with a stream of random numbers for each image."""
        generator = ExampleGenerator(derive_seed(self.seed, purpose, self.step), batch.index)
        return TrainStep(batch.index, self.epoch, self.epochs, generator)


class Loss(Protocol):
    """A defense: `loss(model, x, y, attack=..., step=...)`."""

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, attack: Attack, step: TrainStep
    ) -> LossOutput: ...


class SearchMethod(Protocol):
    """A search as its mathematics: it knows of no loader, schedule, clipping, precision or process.

    Who runs it makes an optimizer for each group of `parameters`, with the keys `weights` and, where the architecture has
    parameters, `arch`. `step` fills the gradients of a group and calls that optimizer's `step`; whoever clips them or
    averages them over processes does it there. What is not in the supernet's state is in `state_dict`.
    """

    @property
    def supernet(self) -> Searched:
        """The network that is searched in."""

    def parameters(self) -> dict[str, Parameters]:
        """The supernet's weights, and the architecture's parameters if it has any."""

    def step(
        self, batches: Batches, optimizers: Mapping[str, Optimizer], progress: Progress
    ) -> dict[str, Tensor]:
        """One update of weights, architecture and multipliers. Returns what is to be logged, detached."""

    def derive(self, progress: Progress, name: str = "found") -> Genotype:
        """The discrete architecture that the supernet stands for."""

    def state_dict(self) -> dict[str, Any]:
        """What the method remembers beside the supernet."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put it back."""
