"""What training tells a defense, and what it asks of those that remember something."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from advarch.noise import Generator


@dataclass(frozen=True)
class TrainStep:
    """Where in training a loss is taken.

    index: each image's index in the training part of its dataset, (batch,).
    epoch: time since the start in epochs, with its fraction; floor(epoch) counts from 0.
    epochs: of the whole training.
    generator: source of every random number of this step.
    """

    index: Tensor | None = None
    epoch: float = 0.0
    epochs: int = 1
    generator: Generator | None = None

    def reached(self, milestone: float) -> bool:
        """Whether training has come to `milestone`: below 1 a share of the run, else an epoch counted from 0."""
        at = round(milestone * self.epochs) if milestone < 1 else milestone
        return math.floor(self.epoch + 1e-9) >= at


AT_START = TrainStep()
"""For a loss taken outside of a training."""


@runtime_checkable
class AfterBackward(Protocol):
    """A defense that uses or undoes something once the gradients are there, before the optimizer's step."""

    def after_backward(self, model: nn.Module) -> None:
        """Called after the backward pass of each loss that this defense returned."""


@runtime_checkable
class Remembers(Protocol):
    """A defense with memory. What it remembers lies in the checkpoint and is whole there, whatever the number of processes."""

    def start(self, *, images: int, device: torch.device, rank: int, world_size: int) -> None:
        """Called once, before training and before `load_state_dict`; `images` bounds the indices."""

    def gather(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Share what this process learned: `gather` stacks a tensor of every process, (world_size, ...).

        Called by every process at the same time: after each epoch and before a checkpoint.
        """

    def state_dict(self) -> dict[str, Any]:
        """The memory, the same in every process after `gather`."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the memory back."""


def replays(defense: Callable[..., Any]) -> int:
    """Optimizer steps that the defense takes on each batch in a row; 1 but for FreeAT."""
    return int(getattr(defense, "replays", 1))


def runs_attack(defense: Callable[..., Any]) -> bool:
    """Whether the defense runs the attack of the config; one that need not be given it makes its own images, or none."""
    parameter = inspect.signature(defense).parameters.get("attack")
    return parameter is not None and parameter.default is parameter.empty


def name_of(made: Callable[..., Any]) -> str:
    """The name of a function, of the one in a partial, or of an object's class; for messages."""
    return str(getattr(getattr(made, "func", made), "__name__", type(made).__name__))
