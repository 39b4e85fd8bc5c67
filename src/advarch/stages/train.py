"""Train the network, keep the best and the last weights."""

import json
import os
import pickle
import platform
from dataclasses import replace
from pathlib import Path

import torch

from advarch import records
from advarch.defenses.contract import replays
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.lit.callbacks import EpochRecord, ProgressReport
from advarch.lit.module import Recipe, TrainModule
from advarch.lit.replayed import Replayed
from advarch.metrics.cost import measure
from advarch.records import Size, TrainRecord
from advarch.runs import weights
from advarch.runs.build import load_data, make, model_builder
from advarch.stages.job import Job, rank


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
    size = measure(model, data.image_shape)
    trainer_node = config["trainer"]
    probe = make("trainer", trainer_node)
    trainer = probe(folder=path)
    device = trainer.strategy.root_device
    loader = data.train_loader(device, rank=rank(), world_size=trainer.world_size)
    defense = make("defense", config["defense"])
    recipe = Recipe(
        defense=defense,
        attack=make("attack", config["attack"]),
        validation_attack=make("validation.attack", config["validation"]["attack"]),
        make_optimizer=make("optimizer", config["optimizer"]),
        schedule=make("schedule", config["schedule"]),
        epochs=trainer_node["max_epochs"],
        steps_per_epoch=len(loader) * replays(defense),
        seed=config["seed"],
        images=len(data.train_part.y),
    )
    progress = ProgressReport(job.report)

    def on_epoch(row: dict[str, float]) -> None:
        progress.note = (
            f"clean {row['val_clean']:.1%}  robust {row['val_robust']:.1%}" if "val_clean" in row else ""
        )
        job.say(_line(row, recipe.epochs))
        job.tracker.log({key: value for key, value in row.items() if key != "epoch"}, step=int(row["epoch"]))

    record = EpochRecord(
        path,
        replace(data, batch_size=config["validation"]["batch_size"]).val_loader(
            device, rank=rank(), world_size=trainer.world_size
        ),
        validate_every=config["validation"]["every"],
        on_epoch=on_epoch,
    )
    trainer.callbacks.extend([progress, record])
    last = path / "checkpoints" / "last.ckpt"
    try:
        trainer.fit(
            TrainModule(model, recipe),
            Replayed(loader, replays(defense)),
            ckpt_path=str(last) if last.exists() else None,
            weights_only=True,
        )
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{last} holds more than data or is damaged, so it is not read; delete it to train from the start"
        ) from error
    if trainer.is_global_zero:
        _finish(job, record, size, data.splits.digest, data.image_shape, data.classes, str(device))


def _finish(
    job: Job,
    record: EpochRecord,
    size: Size,
    split_digest: str,
    image_shape: tuple[int, int, int],
    classes: tuple[str, ...],
    device: str,
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
    trained = TrainRecord(
        epochs=len(rows),
        best_epoch=record.best_epoch,
        best_val_robust=record.best_robust,
        last_val_robust=rows[-1]["val_robust"],
        seconds=sum(row["seconds"] for row in rows),
        images_per_second=sum(row["images_per_second"] for row in rows) / len(rows),
        device=_device_name(device),
    )
    write_atomic(path / "train.json", records.dump(trained))


def _line(row: dict[str, float], epochs: int) -> str:
    text = f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train_loss']:.4f}"
    if "val_clean" in row:
        text += f"  validation: clean {row['val_clean']:.2%}, robust {row['val_robust']:.2%}"
    return text + f"  {row['images_per_second']:,.0f} images/s"


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{model}, {torch.get_num_threads()} of {os.cpu_count()} cores"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
