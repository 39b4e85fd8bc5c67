"""What every module counts along an epoch, and the first loss that was no number."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from advarch.errors import RunFailed
from advarch.lit.schedules import StepsPerEpoch, all_steps, epoch_at
from advarch.types import Batch

NEVER = 2**62
"""A step that no training reaches."""


class NonFiniteLoss(RunFailed):
    """The loss is NaN or infinite: nothing after it can be trusted."""


class Accounting(pl.LightningModule):
    """Sums over the epoch so far and the first bad step, kept on the device: reading them costs a synchronisation.

    Args:
        epochs: of the whole run.
        steps_per_epoch: of every epoch, or of each in turn.
        remedy: what helps against a loss that is no number.
    """

    def __init__(self, *, epochs: int, steps_per_epoch: StepsPerEpoch, remedy: str) -> None:
        super().__init__()
        self.epochs, self.steps_per_epoch, self.remedy = epochs, steps_per_epoch, remedy
        self.sums: dict[str, Tensor] = {}
        self.first_bad: Tensor | None = None
        """The first step with a loss that is no number, else NEVER."""

    def epoch_means(self) -> dict[str, Any]:
        """What goes into the epoch's row, and `images`, how many it saw; starts a new epoch."""
        raise NotImplementedError

    def validate(
        self, batches: Iterable[Batch], stop: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Accuracies on the validation part, over all ranks; None when `stop`, asked after a batch, says so."""
        raise NotImplementedError

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names, totals = self.totals()
        checkpoint["sums"] = dict(zip(names, totals.cpu(), strict=True))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        device = self.trainer.strategy.root_device
        # They are of all ranks, so one of them goes on with them.
        mine = 1.0 if self.global_rank == 0 else 0.0
        self.sums = {name: mine * value.to(device) for name, value in checkpoint["sums"].items()}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add to the epoch's sums."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value

    def look(self, loss: Tensor, step: int) -> None:
        """Remember the step if its loss is no number."""
        if self.first_bad is None:
            self.first_bad = torch.full((), NEVER, dtype=torch.int64, device=loss.device)
        here = torch.full_like(self.first_bad, step)
        self.first_bad = torch.where(loss.isfinite(), self.first_bad, torch.minimum(self.first_bad, here))

    def refuse_non_finite(self) -> None:
        """Raises NonFiniteLoss, naming the step, when the loss of a step so far was NaN or infinite in any process.

        Waits for the device. Every process calls it at the same step.
        """
        if self.first_bad is None:
            return
        first = int(self.trainer.strategy.reduce(self.first_bad, reduce_op="min"))
        if first == NEVER:
            return
        raise NonFiniteLoss(
            f"non-finite loss at step {first + 1} of {all_steps(self.epochs, self.steps_per_epoch)} "
            f"(epoch {math.floor(epoch_at(first, self.steps_per_epoch)) + 1}); the last good checkpoint is kept; "
            f"{self.remedy}"
        )

    def gathered(self, value: Tensor) -> Tensor:
        """A tensor of every process, stacked."""
        if self.trainer.world_size == 1:
            return value[None]
        gathered = self.all_gather(value)
        assert isinstance(gathered, Tensor)
        return gathered

    def totals(self) -> tuple[list[str], Tensor]:
        """Names and values of the sums over all ranks."""
        names = sorted(self.sums)
        if not names:
            return [], torch.zeros(0)
        totals = torch.stack([self.sums[name].float() for name in names])
        return names, self.trainer.strategy.reduce(totals, reduce_op="sum")
