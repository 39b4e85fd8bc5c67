"""Train the network, keep the best and the last weights."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from advarch import records
from advarch.datasets.experiment_data import ExperimentData
from advarch.datasets.loaders import Loader
from advarch.datasets.phases import PhasedLoader
from advarch.defenses.contract import replays, runs_attack
from advarch.files import write_atomic
from advarch.lit import checkpoints
from advarch.lit.callbacks import EpochRecord, ProgressReport, metrics_csv
from advarch.lit.module import TrainModule
from advarch.lit.overfitting_stop import CatastrophicOverfitting
from advarch.lit.phased import fed, steps_per_epoch
from advarch.lit.recipe import Recipe
from advarch.lit.replayed import Replayed
from advarch.lit.together import leave_together
from advarch.metrics.cost import measure
from advarch.records import Size, TrainRecord
from advarch.reports import run_curves
from advarch.runs import weights
from advarch.runs.build import load_data, make, model_builder
from advarch.runs.config import Config
from advarch.runs.initial_weights import initial_file
from advarch.runs.steps import epoch_step
from advarch.runs.teachers import taught
from advarch.stages.device import device_name
from advarch.stages.job import Job
from advarch.types import Batch


def train(job: Job) -> None:
    """Train from the last checkpoint on, or from the start.

    Writes checkpoints/, metrics.csv, model.safetensors (best), model_last.safetensors, model.json, size.json, train.json.

    Raises:
        InputError: the config can't be honoured.
        NonFiniteLoss: the loss is no number any more.
    """
    config, path = job.config, job.folder.path
    data = load_data(config)
    model = model_builder(config, data)()
    if (initial := initial_file(config)) is not None:
        weights.load_any(model, initial)
    size = measure(model, data.image_shape)
    trainer = make("trainer", config["trainer"])(folder=path)
    device = trainer.strategy.root_device
    place = {"rank": job.place.rank, "world_size": job.place.world_size}
    loader = data.train_loader(device, **place)
    plain = data.plain_loader(device, **place) if config.get("averaging") else ()
    recipe = _recipe(config, data, loader, device, plain)
    if not runs_attack(recipe.defense):
        job.say(
            "this defense does not run the attack of the config; its own settings are in the group defense"
        )
    progress = ProgressReport(job.report)
    module = TrainModule(model, recipe)
    record = EpochRecord(
        path,
        replace(data, batch_size=config["validation"]["batch_size"]).val_loader(device, **place),
        validate_every=config["validation"]["every"],
        on_epoch=_teller(job, module, progress),
        process=job.stop,
    )
    stops = [] if config.get("stop") is None else [make("stop", config["stop"])]
    trainer.callbacks.extend([progress, *stops, record])
    last = checkpoints.to_resume(path / "checkpoints", job.say)
    stopped: CatastrophicOverfitting | None = None
    with job.stop.deferred():
        try:
            trainer.fit(
                module,
                fed(trainer, Replayed(loader, replays(recipe.defense))),
                ckpt_path=last,
                weights_only=True,
            )
        except CatastrophicOverfitting as error:
            stopped = error
    if trainer.is_global_zero:
        reason, fast = str(stopped or ""), "; ".join(module.fast)
        _finish(
            job, record, size, data.splits.digest, data.image_shape, data.classes, str(device), reason, fast
        )
        if stopped is not None:
            _tell_stopped(job, record, stopped)
    if job.place.world_size > 1:
        # What comes next reads what the first process has written just now.
        leave_together()


def _recipe(
    config: Config,
    data: ExperimentData,
    loader: Loader | PhasedLoader,
    device: torch.device,
    plain_batches: Iterable[Batch],
) -> Recipe:
    defense = taught(
        make("defense", config["defense"]),
        config,
        classes=len(data.classes),
        image_shape=data.image_shape,
        device=device,
    )
    epochs = config["trainer"]["max_epochs"]
    return Recipe(
        defense=defense,
        attack=make("attack", config["attack"]),
        validation_attack=make("validation.attack", config["validation"]["attack"]),
        make_optimizer=make("optimizer", config["optimizer"]),
        schedule=make("schedule", config["schedule"]),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch(loader, replays=replays(defense), epochs=epochs),
        seed=config["seed"],
        images=len(data.train_part.y),
        averaging=make("averaging", config["averaging"]) if config.get("averaging") else None,
        plain_batches=plain_batches,
    )


def _teller(job: Job, module: TrainModule, progress: ProgressReport) -> Callable[[dict[str, float]], None]:
    """What says and tracks each epoch, and once what of the fast path is taken."""
    said: list[str] = []

    def on_epoch(row: dict[str, float]) -> None:
        for words in module.fast[len(said) :]:
            said.append(words)
            job.say(f"trainer.fast: {words}")
        progress.note = (
            f"clean {row['val_clean']:.1%}  robust {row['val_robust']:.1%}" if "val_clean" in row else ""
        )
        job.say(_line(row, job.config["trainer"]["max_epochs"]))
        job.tracker.log(row, step=epoch_step(job.config, "train", int(row["epoch"])))

    return on_epoch


def _tell_stopped(job: Job, record: EpochRecord, stopped: CatastrophicOverfitting) -> None:
    """Checkpoints are those of the epoch before; metrics.csv shows the one that is not kept as well."""
    job.say(str(stopped))
    probe = {key: stopped.row[key] for key in ("epoch", "train_probe_robust")}
    job.tracker.log(probe, step=epoch_step(job.config, "train", int(probe["epoch"])))
    write_atomic(job.folder.path / "metrics.csv", metrics_csv([*record.rows, stopped.row]))


def _finish(
    job: Job,
    record: EpochRecord,
    size: Size,
    split_digest: str,
    image_shape: tuple[int, int, int],
    classes: tuple[str, ...],
    device: str,
    stopped: str,
    fast: str,
) -> None:
    path = job.folder.path
    for checkpoint, name in weights.FILES.items():
        weights.save(weights.from_checkpoint(path / "checkpoints" / f"{checkpoint}.ckpt"), path / name)
    spec = {
        "backbone": job.config["backbone"],
        "mean": job.config["dataset"].get("mean"),
        "std": job.config["dataset"].get("std"),
        "image_shape": list(image_shape),
        "classes": list(classes),
        "split": split_digest,
        "schema": records.SCHEMA,
    }
    write_atomic(path / "model.json", json.dumps(spec, indent=2) + "\n")
    write_atomic(path / "size.json", records.dump(size))
    rows = record.rows
    # Again: the process may have been killed between the last checkpoint and the file.
    write_atomic(path / "metrics.csv", metrics_csv(rows))
    trained = TrainRecord(
        epochs=len(rows),
        best_epoch=record.best_epoch,
        best_val_robust=record.best[0],
        last_val_robust=rows[-1]["val_robust"],
        seconds=sum(row["seconds"] for row in rows),
        images_per_second=sum(row["images_per_second"] for row in rows) / len(rows),
        device=device_name(device),
        stopped=stopped,
        fast=fast,
    )
    run_curves.draw(rows, record.best_epoch, path / "curves.png")
    write_atomic(path / "train.json", records.dump(trained))


def _line(row: dict[str, float], epochs: int) -> str:
    text = f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train_loss']:.4f}"
    if "val_clean" in row:
        text += f"  validation: clean {row['val_clean']:.2%}, robust {row['val_robust']:.2%}"
    return text + f"  {row['images_per_second']:,.0f} images/s"
