"""The end of a training that has overfitted catastrophically to its own one-step attack."""

from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Gt, Le
from torch import Tensor

from advarch.lit.module import TrainModule
from advarch.modes import BatchNormMode, attack_mode
from advarch.noise import ExampleGenerator, derive_seed
from advarch.types import Attack, Batch

ROUNDING = 1e-9
"""A fall by exactly the drop is none, whatever the difference of two shares is rounded to."""


class CatastrophicOverfitting(Exception):
    """Robustness on training images collapsed in this epoch; nothing of it has been saved.

    Attributes:
        row: of metrics.csv, for the epoch that is not kept.
    """

    def __init__(self, epoch: int, before: float, now: float) -> None:
        super().__init__(
            f"stopped in epoch {epoch}: robust accuracy on a training batch fell from {before:.1%} to {now:.1%} "
            f"(catastrophic overfitting); the weights of epoch {epoch - 1} are the last"
        )
        self.row = {"epoch": float(epoch), "train_probe_robust": now}


class OverfittingStop(pl.Callback):
    """Ends training when robust accuracy on a training batch falls by more than `drop` from one epoch to the next.

    Wong et al. 2020: a network trained with one-step images may lose all robustness to several steps within
    an epoch. Must stand before the callback that saves the epoch. The accuracy is the column train_probe_robust.
    """

    def __init__(
        self,
        attack: Attack,
        drop: Annotated[float, Gt(0), Le(1)] = 0.2,
        bn_mode: BatchNormMode = "train_frozen_stats",
    ) -> None:
        """Remember the settings.

        Args:
            attack: of several steps, which the network is to withstand.
            drop: difference of accuracies in [0, 1].
            bn_mode: batch normalisation under the attack and when its images are judged.
        """
        self.attack, self.drop, self.bn_mode = attack, drop, bn_mode
        self._before: float | None = None
        self._batch: Batch | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["before"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        del trainer, pl_module, outputs, batch_idx
        # The epoch's last batch: a run that was killed within the epoch sees it too, the first it may not.
        self._batch = batch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainModule)
        batch, self._batch = self._batch, None
        if batch is None:
            return  # judged before the run was interrupted between this and the end of its epoch
        right = self._right(pl_module, batch, trainer.current_epoch)
        finite = pl_module.sums["loss"].isfinite()
        counts = torch.stack(
            [right.sum().double(), torch.ones_like(right).sum().double(), (~finite).double()]
        )
        correct, total, broken = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        if broken:
            return  # a loss that is no number is another failure, and told as such
        before, now = self._before, correct / total
        if before is not None and before - now > self.drop + ROUNDING:
            raise CatastrophicOverfitting(trainer.current_epoch + 1, before, now)
        self._before = now
        pl_module.sums["probe_robust"] = now * pl_module.sums["count"]

    def _right(self, pl_module: TrainModule, batch: Batch, epoch: int) -> Tensor:
        x, y, index = batch
        generator = ExampleGenerator(derive_seed(pl_module.recipe.seed, "stop", epoch), index)
        model, plugin = pl_module.model, pl_module.trainer.precision_plugin
        with plugin.val_step_context(), attack_mode(model, self.bn_mode):
            x_adv = self.attack(model, x, y, generator=generator)
            with torch.no_grad():
                return model(x_adv).argmax(1) == y
