"""How a network is trained, as `TrainModule` is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch.optim import Optimizer

from advarch.lit.averaging import Averaging
from advarch.lit.schedules import Schedule, StepsPerEpoch
from advarch.types import Attack, Batch, LossOutput


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: the loss, what it is attacked with, what moves its weights, what judges it.

    steps_per_epoch: optimizer steps in an epoch: the loader's batches times the defense's replays; where epochs differ,
        those of each.
    images: bounds the images' indices in the training part of the dataset.
    averaging: the rule of a second, averaged network, which is then the one that is validated and kept; None averages nothing.
    plain_batches: every training image as it is, for batch statistics of an averaged network.
    """

    defense: Callable[..., LossOutput]
    attack: Attack
    validation_attack: Attack
    make_optimizer: Callable[..., Optimizer]
    schedule: Schedule
    epochs: int
    steps_per_epoch: StepsPerEpoch
    seed: int
    images: int = 0
    averaging: Averaging | None = None
    plain_batches: Iterable[Batch] = ()
