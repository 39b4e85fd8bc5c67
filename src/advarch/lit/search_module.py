"""A search as Lightning sees it: a thin shell around a method's steps on a supernet."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from advarch.defenses.contract import Remembers, runs_attack
from advarch.evaluation.validated import validated
from advarch.files import write_atomic
from advarch.genotype.stored import to_plain
from advarch.lit.accounting import Accounting
from advarch.lit.attacked import AttackedSupernet
from advarch.lit.callbacks import EpochRecord
from advarch.lit.schedules import cosine, scheduler
from advarch.modes import attack_mode, attacked_as
from advarch.noise import derive_seed
from advarch.search.entropy import entropies
from advarch.search.method import Batches, Progress, SearchMethod
from advarch.types import Attack, Batch


@dataclass(frozen=True)
class SearchRecipe:
    """How a supernet is searched.

    make_optimizers: for `weights` and `arch`, what makes the optimizer of that group of the method's parameters; a group
        that the method does not have needs none.
    min_lr: where the cosine of the weights' rate ends; it is lowered between epochs, as in the codes of DARTS and PC-DARTS.
    grad_clip: bound on the l_2 norm of the weights' gradient.
    steps_per_epoch: calls of the method's `step`.
    images: of the training part.
    derives: whether the method's cell is looked at after every epoch.
    validation_attack: attacks the validation images after every epoch; None: they are classified as they are.
    """

    make_optimizers: Mapping[str, Callable[..., Optimizer]]
    min_lr: float
    grad_clip: float | None
    epochs: int
    steps_per_epoch: int
    images: int
    seed: int
    derives: bool = True
    validation_attack: Attack | None = None


class SearchModule(Accounting):
    """One method on one supernet.

    Before an optimizer steps, the gradients of its group are averaged over the processes, and those of the weights
    clipped. Every random number of a step is a function of (seed, step), the same in every process.

    Args:
        model: images -> logits, the supernet or the supernet behind a normalisation.
        method: steps on it.
        recipe: how.
    """

    def __init__(self, model: nn.Module, method: SearchMethod, recipe: SearchRecipe) -> None:
        super().__init__(
            epochs=recipe.epochs,
            steps_per_epoch=recipe.steps_per_epoch,
            remedy="lower search.optimizer.lr or search.grad_clip",
        )
        self.automatic_optimization = False
        self.model, self.method, self.recipe = model, method, recipe
        self.fast: list[str] = []
        """What the fast path does, in words."""
        self.attacked: AttackedSupernet | None = None

    def attack_a_copy(self) -> None:
        """From now on attack a copy of the network that is its equal and cheaper, where there can be one and the attack runs."""
        defense = getattr(self.method, "defense", None)
        if defense is not None and runs_attack(defense):
            self.attacked = AttackedSupernet(self.model, self.fast.append)

    def at(self, step: int) -> Progress:
        """Where in the search that step is, steps counted from 0."""
        recipe = self.recipe
        return Progress(step, step / recipe.steps_per_epoch, recipe.epochs, recipe.seed, self._mean)

    def on_train_epoch_start(self) -> None:
        if self.attacked is not None:
            self.attacked.proven = False

    def training_step(self, batches: Batches, batch_idx: int) -> None:
        step = self.current_epoch * self.recipe.steps_per_epoch + batch_idx
        torch.manual_seed(derive_seed(self.recipe.seed, "search", step))
        optimizers = dict(zip(self.method.parameters(), self.trainer.optimizers, strict=True))
        with self._standing_in(batches.weights.x):
            terms = self.method.step(batches, optimizers, self.at(step))
        falling: Any = self.lr_schedulers()
        falling.step()
        self._count(terms, batches)
        self.look(torch.stack([term.detach().to(self.device).float() for term in terms.values()]).sum(), step)

    def _standing_in(self, x: Tensor) -> AbstractContextManager[None]:
        if self.attacked is None:
            return nullcontext()
        return attacked_as(self.model, partial(self.attacked.now, x))

    def configure_optimizers(self) -> Any:
        recipe, made = self.recipe, {}
        for group, parameters in self.method.parameters().items():
            made[group] = recipe.make_optimizers[group](parameters)
            bound = recipe.grad_clip if group == "weights" else None
            made[group].register_step_pre_hook(partial(self._prepare, bound=bound))
        weights = made["weights"]
        falling = partial(cosine, final=recipe.min_lr / weights.defaults["lr"], per="epoch")
        stepped = scheduler(weights, falling, epochs=recipe.epochs, steps_per_epoch=recipe.steps_per_epoch)
        return list(made.values()), [stepped]

    def setup(self, stage: str) -> None:
        """Before a checkpoint is read: memory has its place when it is filled."""
        del stage
        if isinstance(self.method, Remembers):
            self.method.start(
                images=self.recipe.images,
                device=self.trainer.strategy.root_device,
                rank=self.global_rank,
                world_size=self.trainer.world_size,
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if isinstance(self.method, Remembers):
            self.method.gather(self.gathered)
        checkpoint["method"] = self.method.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.method.load_state_dict(checkpoint["method"])

    def epoch_means(self) -> dict[str, Any]:
        """Means of the method's terms over the steps that had them, over all ranks; entropies and the derived cell."""
        names, totals = self.totals()
        self.sums = {}
        values = dict(zip(names, totals.tolist(), strict=True))
        row: dict[str, Any] = {"images": values.pop("images")}
        row |= {name: values[name] / values[f"#{name}"] for name in values if not name.startswith("#")}
        supernet = self.method.supernet
        if self.recipe.derives:
            done = (self.current_epoch + 1) * self.recipe.steps_per_epoch
            row["genotype"] = to_plain(self.method.derive(self.at(done)))
        return row | entropies(supernet.space, supernet.arch())

    def validate(
        self, batches: Iterable[Batch], stop: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        counts = torch.zeros(3, device=self.device, dtype=torch.float64)
        with self.trainer.precision_plugin.val_step_context(), attack_mode(self.model, "eval"):
            for batch in batches:
                counts += self._judge(Batch(*(each.to(self.device) for each in batch)))
                if stop():
                    return None
        clean, robust, total = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        attacked = {} if self.recipe.validation_attack is None else {"val_robust": robust / total}
        return {"val_clean": clean / total} | attacked

    def _judge(self, batch: Batch) -> Tensor:
        """Images classified right, those that stay so under the attack, and all."""
        attack, (x, y, _) = self.recipe.validation_attack, batch
        if attack is not None:
            return validated(self.model, batch, attack, seed=self.recipe.seed)
        with torch.no_grad():
            right = (self.model(x).argmax(1) == y).sum()
        return torch.stack([right, right, torch.tensor(len(y), device=self.device)])

    def _count(self, terms: Mapping[str, Tensor], batches: Batches) -> None:
        one = torch.ones((), device=self.device)
        self.add({"images": one * (len(batches.weights.y) + len(batches.arch.y))})
        self.add({name: term.detach().to(self.device) for name, term in terms.items()})
        # Terms of the architecture are not there in the warm-up.
        self.add({f"#{name}": one for name in terms})

    def _prepare(self, optimizer: Optimizer, arguments: Any, options: Any, *, bound: float | None) -> None:
        """Average the gradients that an optimizer is about to use over the processes, then clip them."""
        del arguments, options
        filled = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.trainer.world_size > 1 and filled:
            whole = self._mean(torch.cat([p.grad.flatten() for p in filled]))
            parts = whole.split([p.numel() for p in filled])
            for parameter, part in zip(filled, parts, strict=True):
                parameter.grad = part.view_as(parameter)
        if bound is not None:
            nn.utils.clip_grad_norm_(filled, bound)

    def _mean(self, value: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.trainer.world_size


class SearchEpochs(EpochRecord):
    """After each epoch: one line in search.jsonl and the checkpoint last in the folder search; no epoch is the best."""

    has_best = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.checkpoints = self.folder / "search"

    def write_rows(self) -> None:
        """Write search.jsonl."""
        lines = [json.dumps(row, ensure_ascii=False) for row in self.rows]
        write_atomic(self.folder / "search.jsonl", "".join(f"{line}\n" for line in lines))
