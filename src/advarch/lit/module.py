"""Training as Lightning sees it: a thin shell around a defense."""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from advarch.defenses.contract import AfterBackward, Remembers, TrainStep
from advarch.errors import RunFailed
from advarch.layers.auxiliary import auxiliary_loss, collecting
from advarch.layers.drop_path import grow_drop_path
from advarch.lit.averaging import Average, Clock, reestimate_statistics
from advarch.lit.recipe import Recipe
from advarch.lit.schedules import all_steps, epoch_at, scheduler
from advarch.lit.sgd_adam_attention import optimizer_of
from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, derive_seed
from advarch.types import Batch, LossOutput

NEVER = 2**62
"""A step that no training reaches."""


class NonFiniteLoss(RunFailed):
    """The loss is NaN or infinite: nothing after it can be trusted."""


class TrainModule(pl.LightningModule):
    """One defense on one network.

    Every random number of a step is a function of (seed, step): nothing random has to be saved, and a run that was killed
    goes on as if it had not been.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.compiled = False
        self.average: Average | None = None
        if recipe.averaging is not None:
            clock = Clock(recipe.epochs, recipe.steps_per_epoch)
            self.average = Average(model, recipe.averaging, clock)
        self.sums: dict[str, Tensor] = {}
        """Sums over the epoch so far, kept on the device: reading them costs a synchronisation."""
        self.first_bad: Tensor | None = None
        """The first step with a loss that is no number, else NEVER; on the device for the same reason."""

    def compile_network(self) -> None:
        """Run the network through torch.compile from now on; in place, so the names in its state stay what they are."""
        self.model.compile()
        self.compiled = True

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        del batch, batch_idx
        # Here and not once an epoch, because a resumed epoch does not begin.
        epoch = math.floor(epoch_at(self.global_step, self.recipe.steps_per_epoch))
        grow_drop_path(self.model, epoch / self.recipe.epochs)
        torch.manual_seed(derive_seed(self.recipe.seed, "step", self.global_step, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        del batch_idx
        recipe = self.recipe
        # One stream for each image, so that it does not matter which process holds it.
        generator = ExampleGenerator(derive_seed(recipe.seed, "attack", self.global_step), batch.index)
        now = epoch_at(self.global_step, recipe.steps_per_epoch)
        step = TrainStep(batch.index, now, recipe.epochs, generator)
        with collecting() as heads:
            output = recipe.defense(self.model, batch.x, batch.y, attack=recipe.attack, step=step)
        if heads:
            auxiliary = auxiliary_loss(heads, batch.y)
            terms = output.terms | {"auxiliary": auxiliary.detach()}
            output = output._replace(total=output.total + auxiliary, terms=terms)
        self._add(output, batch.y)
        self._look(output.total.detach())
        return output.total

    def on_after_backward(self) -> None:
        if isinstance(self.recipe.defense, AfterBackward):
            self.recipe.defense.after_backward(self.model)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here, before any callback can save a checkpoint of this step.
        if self.average is not None:
            self.average.update(self.model, self.global_step + 1)

    def setup(self, stage: str) -> None:
        """Before a checkpoint is read: memory has its place when it is filled."""
        del stage
        if isinstance(self.recipe.defense, Remembers):
            self.recipe.defense.start(
                images=self.recipe.images,
                device=self.trainer.strategy.root_device,
                rank=self.global_rank,
                world_size=self.trainer.world_size,
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._averaged() is not None:
            checkpoint["kept"] = "average.network."
        names, totals = self._totals()
        checkpoint["sums"] = dict(zip(names, totals.cpu(), strict=True))
        if isinstance(self.recipe.defense, Remembers):
            self.recipe.defense.gather(self._gather)
            checkpoint["defense"] = self.recipe.defense.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        device = self.trainer.strategy.root_device
        # They are of all ranks, so one of them goes on with them.
        mine = 1.0 if self.global_rank == 0 else 0.0
        self.sums = {name: mine * value.to(device) for name, value in checkpoint["sums"].items()}
        if isinstance(self.recipe.defense, Remembers):
            self.recipe.defense.load_state_dict(checkpoint["defense"])

    def _gather(self, value: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return value[None]
        gathered = self.all_gather(value)
        assert isinstance(gathered, Tensor)
        return gathered

    def _add(self, output: LossOutput, y: Tensor) -> None:
        count = torch.tensor(float(len(y)), device=y.device)
        correct = (output.logits.argmax(1) == y).sum()
        values = {"loss": output.total.detach() * count, "correct": correct, "count": count}
        values |= {f"loss_{name}": value.detach() * count for name, value in output.terms.items()}
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=y.device)) + value

    def _look(self, loss: Tensor) -> None:
        if self.first_bad is None:
            self.first_bad = torch.full((), NEVER, dtype=torch.int64, device=loss.device)
        step = torch.full_like(self.first_bad, self.global_step)
        self.first_bad = torch.where(loss.isfinite(), self.first_bad, torch.minimum(self.first_bad, step))

    def refuse_non_finite(self) -> None:
        """Raises NonFiniteLoss, naming the step, when the loss of a step so far was NaN or infinite in any process.

        Waits for the device. Every process calls it at the same step.
        """
        if self.first_bad is None:
            return
        first = int(self.trainer.strategy.reduce(self.first_bad, reduce_op="min"))
        if first == NEVER:
            return
        recipe = self.recipe
        total = all_steps(recipe.epochs, recipe.steps_per_epoch)
        raise NonFiniteLoss(
            f"non-finite loss at step {first + 1} of {total} "
            f"(epoch {math.floor(epoch_at(first, recipe.steps_per_epoch)) + 1}); the last good checkpoint is kept; "
            "lower optimizer.lr or set trainer.grad_clip"
        )

    def _totals(self) -> tuple[list[str], Tensor]:
        """Names and values of the sums over all ranks."""
        names = sorted(self.sums)
        if not names:
            return [], torch.zeros(0)
        totals = torch.stack([self.sums[name].float() for name in names])
        return names, self.trainer.strategy.reduce(totals, reduce_op="sum")

    def epoch_means(self) -> dict[str, float]:
        """Mean loss, its terms and accuracy over the images of this epoch, over all ranks; starts a new epoch."""
        names, totals = self._totals()
        self.sums = {}
        values = dict(zip(names, totals.tolist(), strict=True))
        count = values.pop("count")
        values["accuracy"] = values.pop("correct")
        return {f"train_{name}": value / count for name, value in values.items()} | {"images": count}

    def validate(
        self, batches: Iterable[Batch], stop: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Clean and robust accuracy on the validation part, over all ranks, of the averaged network where there is one.

        None when `stop`, asked after a batch, says so.

        Lightning's own validation loop is not used: it can't be asked for by epoch, and runs attacks in a mode that forbids
        gradients unless told otherwise.
        """
        counts = torch.zeros(3, device=self.device, dtype=torch.float64)
        network = self._network_to_keep()
        # Batches shrink while images fall: compiled, each new size could be one more graph, until dynamo gives up.
        stance = torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()
        with stance, self.trainer.precision_plugin.val_step_context(), attack_mode(network, "eval"):
            for batch in batches:
                counts += self._judge(network, Batch(*(each.to(self.device) for each in batch)))
                if stop():
                    return None
        clean, robust, total = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        return {"val_clean": clean / total, "val_robust": robust / total}

    def _averaged(self) -> Average | None:
        """The average, once there is one."""
        return self.average if self.average is not None and self.average.begun(self.global_step) else None

    def _network_to_keep(self) -> nn.Module:
        """The averaged network, ready to be used, once there is one; else the trained one."""
        average = self._averaged()
        if average is None:
            return self.model
        if average.rule.buffers == "reestimated":
            total = partial(self.trainer.strategy.reduce, reduce_op="sum")
            reestimate_statistics(average.network, self.recipe.plain_batches, self.device, total)
        return average.network

    def _judge(self, network: nn.Module, batch: Batch) -> Tensor:
        x, y, index = batch
        generator = ExampleGenerator(derive_seed(self.recipe.seed, "validation"), index)
        with torch.no_grad():
            clean = network(x).argmax(1) == y
        x_adv = self.recipe.validation_attack(network, x[clean], y[clean], generator=generator[clean])
        with torch.no_grad():
            robust = network(x_adv).argmax(1) == y[clean]
        return torch.stack([clean.sum(), robust.sum(), torch.tensor(len(y), device=y.device)])

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        optimizer = optimizer_of(self.model, recipe.make_optimizer)
        stepped = scheduler(
            optimizer, recipe.schedule, epochs=recipe.epochs, steps_per_epoch=recipe.steps_per_epoch
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": stepped, "interval": "step"}}
