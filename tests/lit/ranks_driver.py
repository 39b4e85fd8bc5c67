"""Trainings of one process, or of one of several (told by the environment); what each left goes to OUT/<case>-<rank>.pt."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.datasets.images import Part
from advarch.datasets.loaders import DeviceLoader
from advarch.defenses.contract import TrainStep
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.errors import Interrupted
from advarch.launch.ranks import here
from advarch.lit.accounting import NonFiniteLoss
from advarch.lit.callbacks import EpochRecord
from advarch.lit.module import TrainModule
from advarch.lit.recipe import Recipe
from advarch.lit.replayed import Replayed
from advarch.lit.schedules import cosine
from advarch.lit.trainer import make_trainer
from advarch.noise import uniform
from advarch.threat import Threat
from advarch.types import LossOutput

IMAGES, BATCH, EPOCHS = 44, 8, 4
"""Five batches an epoch, 20 steps."""

ATTACK = partial(pgd, threat=Threat("inf", 0.1), steps=2, step_size=0.05)


class Remembering:
    """A defense with both kinds of memory: a budget for each image, grown when the image was classified right, and the noise
    that this process last added to its images. Either changes the loss, so a wrong memory ends in wrong weights."""

    def start(self, *, images: int, device: torch.device, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.budget = torch.zeros(images, device=device)
        self.touched = torch.zeros(images, dtype=torch.bool, device=device)
        self.noise = torch.zeros(BATCH // world_size, 1, 4, 4, device=device)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, attack: Any, step: TrainStep) -> LossOutput:
        del attack
        index = step.index
        drawn = uniform(x, step.generator) - 0.5
        eps = 0.02 + self.budget[index][:, None, None, None]
        logits = model((x + eps * drawn + 0.1 * self.noise).clamp(0, 1))
        right = logits.argmax(1) == y
        self.budget[index] += torch.where(right, 0.01, -0.005)
        self.touched[index] = True
        self.noise = drawn
        return LossOutput(nn.functional.cross_entropy(logits, y), logits.detach(), {}, True)

    def gather(self, gather: Callable[[Tensor], Tensor]) -> None:
        budgets, touched = gather(self.budget), gather(self.touched)
        for budget, mine in zip(budgets, touched, strict=True):
            self.budget = torch.where(mine, budget, self.budget)
        self.touched.zero_()
        # Process r holds images r, r + n, ... of each batch.
        self.whole = gather(self.noise).transpose(0, 1).flatten(0, 1)

    def state_dict(self) -> dict[str, Tensor]:
        return {"budget": self.budget, "noise": self.whole}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        self.budget = state_dict["budget"].to(self.budget)
        self.noise = state_dict["noise"].to(self.noise)[self.rank :: self.world_size]


class StopAt:
    """A process that is told to stop once its loss was asked for so many times."""

    def __init__(self, defense: Callable[..., LossOutput], calls: int) -> None:
        self.defense, self.calls, self.number = defense, calls, None

    def listen(self) -> None:
        pass

    def moment(self) -> None:
        pass

    def saving(self) -> None:
        pass

    def __call__(self, *arguments: Any, **options: Any) -> LossOutput:
        output = self.defense(*arguments, **options)
        self.calls -= 1
        if self.calls == 0:
            self.number = 15
        return output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.defense, name)


def broken(step: int, rank: int) -> Callable[..., LossOutput]:
    """pgd_at whose loss is NaN at that step (from 1), in that process alone."""
    calls = 0

    def defense(*arguments: Any, **options: Any) -> LossOutput:
        nonlocal calls
        calls += 1
        output = pgd_at(*arguments, **options)
        bad = calls == step and here().rank == rank
        return output._replace(total=output.total * float("nan") if bad else output.total)

    return defense


def part(count: int) -> Part:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, count)
    x = generator.integers(0, 120, (count, 1, 4, 4)) + 60 * y[:, None, None, None]
    return Part(x.astype(np.uint8), y.astype(np.int64))


def loader(count: int, batch_size: int, *, train: bool) -> DeviceLoader:
    place = here()
    return DeviceLoader(
        part=part(count), indices=np.arange(count), batch_size=batch_size, device="cpu", shuffle=train, drop_last=train,
        crop_pad=int(train), flip=train, seed=3, rank=place.rank, world_size=place.world_size,
    )  # fmt: skip


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


class Widened(nn.Module):
    """Images in double precision: batches of other sizes round otherwise, and single precision would turn a step's sign."""

    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def train(
    folder: Path,
    defense: Any,
    *,
    resume: bool = False,
    epochs: int = EPOCHS,
    times: int = 1,
    process: Any = None,
    exact: bool = False,
) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    record = EpochRecord(
        folder,
        loader(13, 4, train=False),
        validate_every=1,
        on_epoch=lambda row: None,
        process=defense if isinstance(defense, StopAt) else process,
    )
    trainer = make_trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=here().world_size,
        folder=folder,
        callbacks=[record],
    )
    recipe = Recipe(
        defense=defense,
        attack=ATTACK,
        validation_attack=ATTACK,
        make_optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-4),
        schedule=cosine,
        epochs=epochs,
        steps_per_epoch=5 * times,
        seed=7,
        images=IMAGES,
    )
    made = nn.Sequential(Widened(), network()).double() if exact else network()
    module = TrainModule(made, recipe)
    batches = Replayed(loader(IMAGES, BATCH, train=True), times)
    last = folder / "checkpoints" / "last.ckpt" if resume else None
    error = ""
    try:
        trainer.fit(module, batches, ckpt_path=last, weights_only=True)
    except (Interrupted, NonFiniteLoss) as stopped:
        error = f"{type(stopped).__name__} {stopped}"
    found = {
        "weights": dict(module.model.state_dict()),
        "rows": record.rows,
        "error": error,
        "step": trainer.global_step,
    }
    if isinstance(defense, Remembering):
        found["memory"] = defense.state_dict()
    return found


def cases(out: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """Name -> training."""
    place = here()
    stop = StopAt(Remembering(), 7 if place.rank == 0 else 10**9)
    return {
        "pgd_at": lambda: train(out / "pgd_at", pgd_at, exact=True),
        "trades": lambda: train(out / "trades", partial(trades, beta=6.0), exact=True),
        "memory": lambda: train(out / "memory", Remembering()),
        "stopped": lambda: train(out / "stopped", stop),
        "resumed": lambda: train(out / "stopped", Remembering(), resume=True),
        "nan": lambda: train(out / "nan", broken(8, place.world_size - 1)),
    }


def leave(out: Path) -> None:
    """Run every case and leave what it gave."""
    place = (here().rank, here().world_size)
    for name, case in cases(out).items():
        # Lightning removes it after a training; a process of advarch has one training.
        os.environ["WORLD_SIZE"] = str(place[1])
        torch.save(case(), out / f"{name}-{place[0]}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    leave(Path(sys.argv[1]))
