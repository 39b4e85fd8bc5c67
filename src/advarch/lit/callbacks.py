"""What happens along a training: the record of epochs, checkpoints, the stop on a loss that is no number."""

import csv
import io
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from advarch.files import replace_atomic, write_atomic
from advarch.lit.module import TrainModule
from advarch.records import Progress
from advarch.types import Batch


class NonFiniteLoss(RuntimeError):
    """The loss is NaN or infinite: nothing after it can be trusted."""


class EpochRecord(pl.Callback):
    """After each epoch: one row in metrics.csv, the checkpoints last and, where robust accuracy rose, best.

    The rows live in the checkpoint, and the file is written from them, so a resumed run has none missing and none twice.
    The best epoch is the first of highest robust validation accuracy.
    """

    def __init__(
        self,
        folder: Path,
        validation_batches: Iterable[Batch],
        *,
        validate_every: int,
        on_epoch: Callable[[dict[str, float]], None],
    ) -> None:
        self.folder = folder
        self.validation_batches = validation_batches
        self.validate_every = validate_every
        self.on_epoch = on_epoch
        self.rows: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_robust = -1.0
        self._began = 0.0
        self._rate = math.nan

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "best_epoch": self.best_epoch, "best_robust": self.best_robust}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
        self.best_epoch = state_dict["best_epoch"]
        self.best_robust = state_dict["best_robust"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self._began = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        del pl_module, batch, batch_idx
        # Read before the step: at the epoch's end the scheduler is already in the next one.
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainModule)
        means = pl_module.epoch_means()
        if not math.isfinite(means["train_loss"]):
            raise NonFiniteLoss(
                f"non-finite loss in epoch {trainer.current_epoch + 1}, before step {trainer.global_step}; "
                "the last good checkpoint is kept; lower optimizer.lr or set trainer.grad_clip"
            )
        seconds = time.perf_counter() - self._began
        images = means.pop("images")
        epoch = trainer.current_epoch + 1
        row: dict[str, float] = {"epoch": epoch, "lr": self._rate} | means
        validated = epoch % self.validate_every == 0 or epoch == trainer.max_epochs
        if validated:
            row |= pl_module.validate(self.validation_batches)
        row |= {"seconds": seconds, "images_per_second": images / seconds}
        self.rows.append(row)
        if validated and row["val_robust"] > self.best_robust:
            self.best_epoch, self.best_robust = epoch, row["val_robust"]
            self._save(trainer, "best.ckpt")
        self._save(trainer, "last.ckpt")
        if trainer.is_global_zero:
            write_atomic(self.folder / "metrics.csv", metrics_csv(self.rows))
            self.on_epoch(row)

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        """Every rank takes part in gathering the checkpoint; rank zero writes it and renames it."""
        path = self.folder / "checkpoints" / name
        path.parent.mkdir(exist_ok=True)
        written = path.with_name(f".{name}.{os.getpid()}.written")
        try:
            trainer.save_checkpoint(written)
            if trainer.is_global_zero:
                replace_atomic(path, lambda temporary: os.replace(written, temporary))
        finally:
            written.unlink(missing_ok=True)


class ProgressReport(pl.Callback):
    """Tell where training stands, after every batch."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self.report = report
        self.note = ""
        self._began = 0.0
        self._batches = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        del pl_module, outputs
        self._batches += 1
        if not trainer.is_global_zero:
            return
        assert trainer.max_epochs is not None
        per_epoch = int(trainer.num_training_batches)
        done = trainer.current_epoch * per_epoch + batch_idx + 1
        total = trainer.max_epochs * per_epoch
        elapsed = time.perf_counter() - self._began
        left = elapsed / self._batches * (total - done)
        speed = self._batches * len(batch.y) * trainer.world_size / elapsed
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, step {batch_idx + 1}/{per_epoch}"
        note = f"{epoch}  {speed:,.0f} images/s  {self.note}".rstrip()
        self.report(Progress("train", done, total, "step", left, note))


def metrics_csv(rows: list[dict[str, float]]) -> str:
    """The rows as CSV; a column that a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
    return text.getvalue()
