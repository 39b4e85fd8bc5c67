"""Training in phases against a plain loop over loaders of each phase; killed and resumed; as a job."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from advarch import records
from advarch.cli.compose import planned_jobs
from advarch.datasets.images import Part
from advarch.datasets.phases import Phase
from advarch.defenses.contract import TrainStep
from advarch.defenses.fast import fast
from advarch.errors import InputError
from advarch.launch.cost import training_macs
from advarch.lit.callbacks import EpochRecord
from advarch.lit.module import TrainModule
from advarch.lit.phased import fed, steps_per_epoch
from advarch.lit.replayed import Replayed
from advarch.lit.schedules import piecewise_linear
from advarch.lit.trainer import make_trainer
from advarch.noise import ExampleGenerator, derive_seed
from advarch.records import Size, TrainRecord
from advarch.runs.tracking import NoTracker
from advarch.stages.job import Job
from advarch.stages.train import train
from tests.datasets.test_phases import data
from tests.lit.test_train_module import SEED, THREAT, recipe, same, val_loader

PHASES = (Phase(1, 8, 4), Phase(2, 5, 6), Phase(1, 4, 8))
STEPS = (2, 4, 4, 5)
SCHEDULE = partial(piecewise_linear, points=[[0, 0.0], [1, 1.0], [4, 0.1]])
DEFENSE = partial(fast, threat=THREAT, step_size=0.125)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(3, 3))


def images(count: int = 21) -> Part:
    y = np.arange(count) % 3
    x = np.random.default_rng(0).integers(0, 120, (count, 1, 8, 8)) + 60 * y[:, None, None, None]
    return Part(x=x.astype(np.uint8), y=y.astype(np.int64))


class Stop(pl.Callback):
    """Fail before a step, as a run that is killed there does; notes the rates and batch sizes of the others."""

    def __init__(self, step: int | None) -> None:
        self.step = step
        self.seen: list[tuple[float, int, int]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            raise KeyError("killed")
        self.seen.append((trainer.optimizers[0].param_groups[0]["lr"], *batch.x.shape[1::2], len(batch.y)))


def fit(folder: Path, *, stop: int | None = None, resume: bool = False, replays: int = 1):
    model, noted = network(), Stop(stop)
    record = EpochRecord(folder, val_loader(), validate_every=1, on_epoch=lambda row: None)
    trainer = make_trainer(
        max_epochs=4, accelerator="cpu", devices=1, fast=False, folder=folder, callbacks=[noted, record]
    )
    loader = data(images(), PHASES).train_loader("cpu")
    steps = steps_per_epoch(loader, replays=replays, epochs=4)
    plan = recipe(4, defense=DEFENSE, schedule=SCHEDULE, steps_per_epoch=steps)
    last = folder / "checkpoints" / "last.ckpt" if resume else None
    trainer.fit(
        TrainModule(model, plan), fed(trainer, Replayed(loader, replays)), ckpt_path=last, weights_only=True
    )
    return model, noted.seen, record.rows


def plain() -> tuple[nn.Module, list[float]]:
    """One loader for each phase, resized by hand, and the rate of each step from the schedule's picture."""
    model = network().train()
    optimizer = recipe(4).make_optimizer(params=list(model.parameters()))
    whole, step, rates = data(images(), ()), 0, []
    for epoch, (phase, steps) in enumerate(
        zip([PHASES[0], PHASES[1], PHASES[1], PHASES[2]], STEPS, strict=True)
    ):
        loader = replace(whole, batch_size=phase.batch_size).train_loader("cpu")
        loader.set_epoch(epoch)
        assert len(loader) == steps
        for number, (x, y, index) in enumerate(loader):
            t = epoch + number / steps
            rates.append(0.1 * (t if t <= 1 else 1 - 0.9 * (t - 1) / 3))
            optimizer.param_groups[0]["lr"] = rates[-1]
            size = [phase.image_size] * 2
            x = (
                x
                if x.shape[-1] == size[0]
                else nn.functional.interpolate(x, size=size, mode="bilinear", antialias=True)
            )
            generator = ExampleGenerator(derive_seed(SEED, "attack", step), index)
            output = DEFENSE(model, x.clamp(0, 1), y, step=TrainStep(generator=generator))
            optimizer.zero_grad()
            output.total.backward()
            optimizer.step()
            step += 1
    return model, rates


def test_training_in_phases_equals_a_plain_loop_s_to_the_bit(tmp_path: Path) -> None:
    model, seen, rows = fit(tmp_path)
    expected, rates = plain()
    assert [rate for rate, *_ in seen] == pytest.approx(rates, rel=1e-12, abs=1e-15)
    assert [(side, count) for _, _, side, count in seen] == [(4, 8)] * 2 + [(6, 5)] * 8 + [(8, 4)] * 5
    assert same(model.state_dict(), expected.state_dict())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize("step", [2, 4, 6, 11, 14])
def test_a_run_killed_in_any_phase_goes_on_in_it_to_the_same_bits(tmp_path: Path, step: int) -> None:
    with pytest.raises(KeyError, match="killed"):
        fit(tmp_path, stop=step)
    model, seen, rows = fit(tmp_path, resume=True)
    assert same(model.state_dict(), plain()[0].state_dict())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert len(seen) == sum(STEPS) - max(sum(STEPS[:n]) for n in range(5) if sum(STEPS[:n]) <= step)


def test_replays_and_phases_go_together(tmp_path: Path) -> None:
    _, seen, _ = fit(tmp_path, replays=2)
    assert [(side, count) for _, _, side, count in seen] == [(4, 8)] * 4 + [(6, 5)] * 16 + [(8, 4)] * 10


def test_more_epochs_than_the_phases_describe_are_refused_and_fewer_are_not() -> None:
    loader = data(images(), PHASES).train_loader("cpu")
    assert steps_per_epoch(loader, replays=3, epochs=2) == (6, 12, 12, 15)
    with pytest.raises(InputError, match=r"trainer\.max_epochs: expected at most 4, .* came 5"):
        steps_per_epoch(loader, replays=1, epochs=5)


PHASE = "{{_target_:advarch.datasets.phases.Phase,epochs:{0},batch_size:{1},image_size:{2}}}"
OVERRIDES = [
    "defense=fast",
    "schedule=piecewise_linear",
    "schedule.points=[[0,0],[1,1],[3,0.1]]",
    f"dataset.phases=[{PHASE.format(1, 40, 4)},{PHASE.format(2, 20, 8)}]",
    "dataset.limit=120",
    "backbone.depths=[1,0,0]",
    "backbone.widths=[0.25,1,1]",
    "trainer.max_epochs=3",
    "trainer.accelerator=cpu",
    "validation.attack.steps=1",
]


def test_a_job_in_phases_runs_and_costs_what_its_smaller_images_do(tmp_path: Path) -> None:
    (planned,) = planned_jobs([*OVERRIDES, f"outputs={tmp_path}"], check=True)
    planned.folder.write_config(planned.config)
    train(Job(planned.folder, planned.config, NoTracker(), lambda progress: None, lambda line: None))
    trained = records.read(TrainRecord, planned.folder.path / "train.json")
    assert trained is not None and trained.epochs == 3
    # 108 images train: two batches of 40, then five of 20, the last step of an epoch giving its rate.
    rates = [row["lr"] for row in planned.folder.curves()]
    assert rates == pytest.approx([0.1 * 0.5, 0.1 * (1 - 0.45 * 0.8), 0.1 * (1 - 0.45 * 1.8)], rel=1e-5)
    assert training_macs(planned.config, Size(1, 1000)) == pytest.approx(
        120 * 0.9 * (0.25 + 1 + 1) * 5 * 1000
    )


def test_a_phase_s_keys_are_checked_like_all_others() -> None:
    for bad, message in (("side:4", "side"), ("epochs:0", "epochs")):
        with pytest.raises(InputError, match=rf"dataset\.phases\[0\]\.{message}"):
            planned_jobs(
                [f"dataset.phases=[{{_target_:advarch.datasets.phases.Phase,batch_size:2,{bad}}}]"],
                check=True,
            )


def test_the_imagenet_preset_has_the_three_phases_of_its_code(tmp_path: Path) -> None:
    (planned,) = planned_jobs(["method=fast_imagenet", f"dataset.root={tmp_path}"], check=True)
    config = planned.config
    keys = ("epochs", "image_size", "resize", "batch_size")
    found = [tuple(phase[key] for key in keys) for phase in config["dataset"]["phases"]]
    assert found == [(6, 128, 160, 512), (6, 224, 352, 224), (3, 288, None, 128)]
    assert sum(phase[0] for phase in found) == config["trainer"]["max_epochs"] == 15
    assert config["defense"]["step_size"] == pytest.approx(5 / 255) and config["threat"][
        "eps"
    ] == pytest.approx(4 / 255)
