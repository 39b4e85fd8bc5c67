"""The stop at catastrophic overfitting: its rule on a script, its measure against a plain loop, what a stopped run leaves."""

import csv
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch

from advarch import records
from advarch.attacks.pgd import pgd
from advarch.cli.compose import planned_jobs
from advarch.cli.status import status
from advarch.errors import InputError
from advarch.lit.callbacks import EpochRecord
from advarch.lit.module import TrainModule
from advarch.lit.overfitting_stop import CatastrophicOverfitting, OverfittingStop
from advarch.lit.trainer import make_trainer
from advarch.noise import ExampleGenerator, derive_seed
from advarch.records import TrainRecord
from advarch.runs.tracking import NoTracker
from advarch.stages.job import Job
from advarch.stages.train import train
from advarch.types import Batch
from tests.lit.test_train_module import (
    SEED,
    THREAT,
    broken_at,
    network,
    plain,
    recipe,
    same,
    train_loader,
    val_loader,
)

PROBE = partial(pgd, threat=THREAT, steps=5, step_size=0.025)


class Scripted(OverfittingStop):
    """Finds the robust accuracies it is told, out of ten images."""

    def __init__(self, accuracies: Sequence[float], **options) -> None:
        super().__init__(PROBE, **options)
        self.accuracies = accuracies

    def _right(self, pl_module: TrainModule, batch: Batch, epoch: int) -> torch.Tensor:
        return torch.arange(10) < round(10 * self.accuracies[epoch])


def fit(folder: Path, stop: OverfittingStop, epochs: int = 5, *, resume: bool = False, **changes):
    record = EpochRecord(folder, val_loader(), validate_every=1, on_epoch=lambda row: None)
    trainer = make_trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, fast=False, folder=folder, callbacks=[stop, record]
    )
    model = network()
    last = str(folder / "checkpoints" / "last.ckpt") if resume else None
    trainer.fit(
        TrainModule(model, recipe(epochs, **changes)), train_loader(), ckpt_path=last, weights_only=True
    )
    return model, record


def weights(folder: Path, name: str = "last") -> dict:
    saved = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return {key.removeprefix("model."): value for key, value in saved.items()}


@pytest.mark.parametrize(
    ("accuracies", "drop", "stopped"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.9], 0.2, None),
        ([0.9, 0.7, 0.5, 0.3, 0.1], 0.2, None),  # by 20 points, not by more
        ([0.5, 0.6, 0.3, 0.9, 0.9], 0.2, 3),
        ([0.9, 0.8, 0.7, 0.6, 0.5], 0.2, None),  # against the epoch before, not against the best
        ([0.0, 0.0, 0.4, 0.4, 0.1], 0.2, 5),
        ([0.5, 0.4, 0.5, 0.5, 0.5], 0.05, 2),
        ([0.9, 0.0, 0.9, 0.9, 0.9], 1.0, None),
    ],
)
def test_training_ends_where_accuracy_falls_by_more_than_the_drop(
    tmp_path: Path, accuracies: list[float], drop: float, stopped: int | None
) -> None:
    stop = Scripted(accuracies, drop=drop)
    if stopped is None:
        fit(tmp_path, stop)
    else:
        told = f"epoch {stopped}: .* from {accuracies[stopped - 2]:.1%} to {accuracies[stopped - 1]:.1%}"
        with pytest.raises(CatastrophicOverfitting, match=told):
            fit(tmp_path, stop)
    kept = (stopped or 6) - 1
    _, epochs = plain(recipe(5))
    assert same(weights(tmp_path), epochs[kept - 1]["weights"])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        found = [float(row["train_probe_robust"]) for row in csv.DictReader(file)]
    assert found == pytest.approx(accuracies[:kept])


def test_a_resumed_run_remembers_the_epoch_before(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="out of memory"):
        fit(tmp_path, Scripted([0.9, 0.9, 0.1]), defense=broken_at(5, "fails"))
    with pytest.raises(CatastrophicOverfitting, match=r"epoch 3: .* from 90\.0% to 10\.0%"):
        fit(tmp_path, Scripted([0.0, 0.0, 0.1]), resume=True)
    _, epochs = plain(recipe(5))
    assert same(weights(tmp_path), epochs[1]["weights"])


@pytest.mark.parametrize("mode", ["eval", "train_frozen_stats"])
def test_the_measure_is_a_plain_attack_on_the_epoch_s_last_batch_and_changes_nothing(
    tmp_path: Path, mode
) -> None:
    _, record = fit(tmp_path, OverfittingStop(PROBE, bn_mode=mode), epochs=2)
    _, epochs = plain(recipe(2))
    loader = train_loader()
    for epoch, (row, after) in enumerate(zip(record.rows, epochs, strict=True)):
        loader.set_epoch(epoch)
        x, y, index = list(loader)[-1]
        net = network()
        net.load_state_dict(after["weights"])
        net.train(mode != "eval")
        generator = ExampleGenerator(derive_seed(SEED, "stop", epoch), index)
        x_adv = PROBE(net, x, y, generator=generator)
        right = (net(x_adv).argmax(1) == y).float().mean()
        assert row["train_probe_robust"] == pytest.approx(float(right), abs=1e-9)
    assert same(weights(tmp_path), epochs[-1]["weights"]), "training is as without it"


def test_a_loss_that_is_no_number_is_not_called_overfitting(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="non-finite loss") as caught:
        fit(tmp_path, Scripted([0.9, 0.9, 0.0]), defense=broken_at(4, "nan"))
    assert not isinstance(caught.value, CatastrophicOverfitting)


OVERRIDES = [
    "defense=fast",
    "stop=catastrophic",
    "dataset.limit=120",
    "dataset.batch_size=32",
    "backbone.depths=[1,0,0]",
    "backbone.widths=[0.25,1,1]",
    "trainer.max_epochs=4",
    "trainer.accelerator=cpu",
    "validation.attack.steps=1",
]


def test_a_stopped_run_is_done_and_says_so_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (planned,) = planned_jobs([*OVERRIDES, f"outputs={tmp_path}"], check=True)
    planned.folder.write_config(planned.config)
    said: list[str] = []
    job = Job(planned.folder, planned.config, NoTracker(), lambda progress: None, said.append)
    script = [0.5, 0.6, 0.1]
    monkeypatch.setattr(
        OverfittingStop,
        "_right",
        lambda self, module, batch, epoch: torch.arange(10) < 10 * script[epoch] - 0.5,
    )
    train(job)
    path = planned.folder.path
    trained = records.read(TrainRecord, path / "train.json")
    assert trained is not None and trained.epochs == 2
    assert trained.stopped.startswith(
        "stopped in epoch 3: robust accuracy on a training batch fell from 60.0% to 10.0%"
    )
    assert trained.stopped in said and any("does not run the attack of the config" in line for line in said)
    rows = planned.folder.curves()
    assert [row["train_probe_robust"] for row in rows] == pytest.approx([0.5, 0.6, 0.1])
    assert "val_robust" in rows[1] and set(rows[2]) == {"epoch", "train_probe_robust"}
    saved = safetensors.torch.load_file(path / "model_last.safetensors")
    assert same(saved, weights(path)) and (path / "model.safetensors").exists()
    planned.folder.begin("train")
    planned.folder.end("train", "done")
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "300")
    assert status([str(tmp_path)]) == 0
    assert "stopped in epoch 3" in " ".join(capsys.readouterr().out.split())
    assert json.loads((path / "train.json").read_text())["epochs"] == 2


def test_a_stop_needs_every_epoch_validated() -> None:
    with pytest.raises(
        InputError, match=r"validation\.every: expected 1 with a stop, .* came 2; set it to 1"
    ):
        planned_jobs(["stop=catastrophic", "validation.every=2"], check=True)
