"""What happens along a training: the record of epochs with its checkpoints, the stop at a signal, progress."""

import csv
import io
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from advarch.files import write_atomic
from advarch.lit import checkpoints
from advarch.lit.accounting import Accounting
from advarch.lit.schedules import all_steps
from advarch.lit.together import Stoppable, Together
from advarch.records import Progress
from advarch.types import Batch

FINITE_EVERY = 50
"""Steps of an epoch between two looks at whether every loss was finite; each look waits for the device."""


class EpochRecord(pl.Callback):
    """After each epoch: one row in metrics.csv, the checkpoints last and, where robust accuracy rose, best.

    The rows live in the checkpoint, and the file is written from them, so a resumed run has none missing and none twice.
    The best epoch is that of highest robust validation accuracy, of equal ones the cleanest, of equal ones the first. Told to stop, it writes the checkpoint last in the
    middle of the epoch, or of its validation, and training goes on from there.
    """

    has_best = True

    def __init__(
        self,
        folder: Path,
        validation_batches: Iterable[Batch],
        *,
        validate_every: int,
        on_epoch: Callable[[dict[str, Any]], None],
        process: Stoppable | None = None,
    ) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.validation_batches = validation_batches
        self.validate_every = validate_every
        self.on_epoch = on_epoch
        self.process = process
        self.together = Together(process)
        self.rows: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best = (-1.0, -1.0)
        self._batches = 0
        self._seconds = 0.0
        self._began = 0.0
        self._rate = math.nan

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "batches": self._batches,
            "seconds": self._seconds,
            "rate": self._rate,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
        self.best_epoch = state_dict["best_epoch"]
        robust, clean = state_dict["best"]
        self.best = (robust, clean)
        self._batches, self._seconds = state_dict["batches"], state_dict["seconds"]
        self._rate = state_dict["rate"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        if self.process is not None:
            # Lightning has put a handler of its own before ours, which talks to the other processes in the middle of a step.
            self.process.listen()
        self._began = time.perf_counter() - self._seconds
        # The batches of an epoch that was left in its middle; Lightning counts them and leaves it to the loader to skip them.
        loader: Any = trainer.train_dataloader
        loader.start_batch = self._batches

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self._batches, self._began = 0, time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        del pl_module, batch, batch_idx
        # Read before the step: at the epoch's end the scheduler is already in the next one.
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        del outputs, batch
        assert isinstance(pl_module, Accounting)
        self._batches = batch_idx + 1
        if self._batches == trainer.num_training_batches:
            return  # the epoch's end looks after itself
        if self._batches % FINITE_EVERY == 0:
            pl_module.refuse_non_finite()
        if self.together.stop():
            self._leave(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Accounting)
        pl_module.refuse_non_finite()
        self._seconds = time.perf_counter() - self._began
        epoch = trainer.current_epoch + 1
        validated = epoch % self.validate_every == 0 or epoch == trainer.max_epochs
        judged = pl_module.validate(self.validation_batches, self.together.stop) if validated else {}
        if judged is None:
            self._leave(trainer, pl_module, trained=True)
            return
        means = pl_module.epoch_means()
        images = means.pop("images")
        row: dict[str, Any] = {"epoch": epoch, "lr": self._rate} | means | judged
        row |= {"seconds": self._seconds, "images_per_second": images / self._seconds}
        self.rows.append(row)
        self._batches, self._seconds = 0, 0.0
        if trainer.is_global_zero:
            # Before it is saved: killed in between, the row is told again rather than never.
            self.on_epoch(row)
        if (
            self.has_best
            and "val_robust" in judged
            and (judged["val_robust"], judged["val_clean"]) > self.best
        ):
            self.best_epoch, self.best = epoch, (judged["val_robust"], judged["val_clean"])
            self._save(trainer, checkpoints.BEST)
        self._save(trainer, checkpoints.LAST)
        if trainer.is_global_zero:
            self.write_rows()

    def write_rows(self) -> None:
        """Write metrics.csv."""
        write_atomic(self.folder / "metrics.csv", metrics_csv(self.rows))

    def _leave(self, trainer: pl.Trainer, pl_module: Accounting, *, trained: bool = False) -> None:
        """Save where the epoch stands and stop; `trained`: only its end is missing."""
        pl_module.refuse_non_finite()
        if not trained:
            self._seconds = time.perf_counter() - self._began
        progress = trainer.fit_loop.epoch_progress
        if trained:
            # Lightning counts an epoch as done before its end is called; saved so, a resumed run would never call it.
            for count in (progress.current, progress.total):
                setattr(count, "processed", count.completed)  # noqa: B010  # Lightning types it too narrowly
        self._save(trainer, checkpoints.LAST)
        self.together.leave()

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        checkpoints.save(trainer, self.checkpoints / name)


class ProgressReport(pl.Callback):
    """Tell where a stage stands, after every batch: beside the bar a `note`, below it a `picture`."""

    def __init__(self, report: Callable[[Progress], None], stage: str = "train") -> None:
        self.report, self.stage = report, stage
        self.note = self.picture = ""
        self._began = 0.0
        self._batches = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        del outputs
        self._batches += 1
        if not trainer.is_global_zero:
            return
        assert trainer.max_epochs is not None
        per_epoch = int(trainer.num_training_batches)
        assert isinstance(pl_module, Accounting)
        steps = pl_module.steps_per_epoch
        done = all_steps(trainer.current_epoch, steps) + batch_idx + 1
        total = all_steps(trainer.max_epochs, steps)
        elapsed = time.perf_counter() - self._began
        # Steps of another phase have images of another size, and nobody knows how long those take.
        left = elapsed / self._batches * (total - done) if isinstance(steps, int) else None
        # A search has a batch for the weights and one for the architecture.
        images = len(getattr(batch, "weights", batch).y)
        speed = self._batches * images * trainer.world_size / elapsed
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, step {batch_idx + 1}/{per_epoch}"
        note = f"{epoch}  {speed:,.0f} images/s  {self.note}".rstrip()
        self.report(Progress(self.stage, done, total, "step", left, note, self.picture))


def metrics_csv(rows: list[dict[str, float]]) -> str:
    """The rows as CSV; a column that a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
    return text.getvalue()
