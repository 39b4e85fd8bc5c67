"""Training as Lightning sees it: a thin shell around a defense."""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from advarch.defenses.contract import AfterBackward, Remembers, TrainStep, runs_attack
from advarch.evaluation.validated import validated
from advarch.layers.auxiliary import auxiliary_loss, collecting
from advarch.layers.batch_statistics import reestimate_statistics
from advarch.layers.drop_path import grow_drop_path
from advarch.lit.accounting import Accounting
from advarch.lit.attacked import Attacked
from advarch.lit.averaging import Average, Clock
from advarch.lit.recipe import Recipe
from advarch.lit.schedules import epoch_at, scheduler
from advarch.lit.sgd_adam_attention import optimizer_of
from advarch.modes import attack_mode, attacked_as
from advarch.noise import ExampleGenerator, derive_seed
from advarch.types import Batch, LossOutput


class TrainModule(Accounting):
    """One defense on one network.

    Every random number of a step is a function of (seed, step): nothing random has to be saved, and a run that was killed
    goes on as if it had not been.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__(
            epochs=recipe.epochs,
            steps_per_epoch=recipe.steps_per_epoch,
            remedy="lower optimizer.lr or set trainer.grad_clip",
        )
        self.model = model
        self.recipe = recipe
        self.compiled = False
        self.fast: list[str] = []
        """What the fast path does, in words."""
        self.attacked: Attacked | None = None
        self.average: Average | None = None
        if recipe.averaging is not None:
            clock = Clock(recipe.epochs, recipe.steps_per_epoch)
            self.average = Average(model, recipe.averaging, clock)

    def compile_network(self) -> None:
        """Run the network through torch.compile from now on; in place, so the names in its state stay what they are."""
        self.model.compile()
        self.compiled = True

    def attack_a_copy(self) -> None:
        """From now on attack a copy of the network that is its equal and cheaper, where there can be one and the attack runs."""
        if runs_attack(self.recipe.defense):
            self.attacked = Attacked(self.model, self.fast.append)

    def on_train_epoch_start(self) -> None:
        if self.attacked is not None:
            self.attacked.proven = False

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
        with collecting() as heads, self._standing_in(batch.x):
            output = recipe.defense(self.model, batch.x, batch.y, attack=recipe.attack, step=step)
        if heads:
            auxiliary = auxiliary_loss(heads, batch.y)
            terms = output.terms | {"auxiliary": auxiliary.detach()}
            output = output._replace(total=output.total + auxiliary, terms=terms)
        self._count(output, batch.y)
        self.look(output.total.detach(), self.global_step)
        return output.total

    def _standing_in(self, x: Tensor) -> AbstractContextManager[None]:
        if self.attacked is None:
            return nullcontext()
        return attacked_as(self.model, partial(self.attacked.now, x, compiled=self.compiled))

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
        super().on_save_checkpoint(checkpoint)
        if isinstance(self.recipe.defense, Remembers):
            self.recipe.defense.gather(self.gathered)
            checkpoint["defense"] = self.recipe.defense.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if isinstance(self.recipe.defense, Remembers):
            self.recipe.defense.load_state_dict(checkpoint["defense"])

    def _count(self, output: LossOutput, y: Tensor) -> None:
        count = torch.tensor(float(len(y)), device=y.device)
        correct = (output.logits.argmax(1) == y).sum()
        values = {"loss": output.total.detach() * count, "correct": correct, "count": count}
        values |= {f"loss_{name}": value.detach() * count for name, value in output.terms.items()}
        self.add(values)

    def epoch_means(self) -> dict[str, float]:
        """Mean loss, its terms and accuracy over the images of this epoch, over all ranks; starts a new epoch."""
        names, totals = self.totals()
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
        return validated(network, batch, self.recipe.validation_attack, seed=self.recipe.seed)

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        optimizer = optimizer_of(self.model, recipe.make_optimizer)
        stepped = scheduler(
            optimizer, recipe.schedule, epochs=recipe.epochs, steps_per_epoch=recipe.steps_per_epoch
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": stepped, "interval": "step"}}
