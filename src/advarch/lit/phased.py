"""Epochs of different length: what the schedule and Lightning have to be told."""

import pytorch_lightning as pl

from advarch.datasets.loaders import Loader
from advarch.datasets.phases import PhasedLoader
from advarch.errors import InputError
from advarch.lit.replayed import Replayed
from advarch.lit.schedules import StepsPerEpoch


def steps_per_epoch(loader: Loader | PhasedLoader, *, replays: int, epochs: int) -> StepsPerEpoch:
    """Optimizer steps of an epoch, or where phases make them differ of each.

    Raises:
        InputError: more epochs than the phases describe.
    """
    if not isinstance(loader, PhasedLoader):
        return len(loader) * replays
    if epochs > len(loader.steps):
        raise InputError(
            f"trainer.max_epochs: expected at most {len(loader.steps)}, the epochs of dataset.phases, came {epochs}; "
            "give the last phase more epochs or train shorter"
        )
    return tuple(steps * replays for steps in loader.steps)


def fed(trainer: pl.Trainer, loader: Replayed) -> "Replayed | EveryEpochAnew":
    """What to fit on: the loader itself, or where its epochs differ a module that Lightning asks for it every epoch."""
    if not isinstance(loader.loader, PhasedLoader):
        return loader
    # An argument of the trainer, which is made before its loaders are known.
    trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
    return EveryEpochAnew(loader)


class EveryEpochAnew(pl.LightningDataModule):
    """Hands out the one loader there is, set to the epoch that begins, so that Lightning counts that epoch's batches."""

    def __init__(self, loader: Replayed) -> None:
        super().__init__()
        self.loader = loader

    def train_dataloader(self) -> Replayed:
        assert self.trainer is not None
        self.loader.set_epoch(self.trainer.current_epoch)
        return self.loader
