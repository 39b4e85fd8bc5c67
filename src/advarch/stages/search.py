"""Search an architecture: train a supernet, then choose the cells."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch.distributed as dist

from advarch import records
from advarch.datasets.experiment_data import ExperimentData
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.genotype import stored
from advarch.genotype.cell import Genotype
from advarch.genotype.stored import FILE
from advarch.lit import checkpoints
from advarch.lit.callbacks import ProgressReport
from advarch.lit.paired import Paired
from advarch.lit.search_module import SearchEpochs, SearchModule, SearchRecipe
from advarch.lit.together import environment_kept
from advarch.metrics.cost import measure
from advarch.records import SearchRecord, Size
from advarch.reports import genotype_drawing, genotype_strip, search_curves
from advarch.reports.genotype_text import text
from advarch.runs import weights
from advarch.runs.build import load_data, make
from advarch.runs.config import Config
from advarch.runs.search import build_method, build_supernet, load_backbone
from advarch.runs.steps import epoch_step
from advarch.search.method import Searched
from advarch.stages.candidates import best_candidate
from advarch.stages.device import device_name
from advarch.stages.job import Job

SUPERNET = "supernet.safetensors"
"""The supernet's weights and architecture after the search, in the folder search."""


def search(job: Job) -> None:
    """Train the supernet from the last checkpoint on, or from the start, and choose; without a supernet choose by trial.

    Writes search/, search.jsonl, search.json, genotype.json, and pictures of the cells and the curves.

    Raises:
        InputError: the config can't be honoured.
        NonFiniteLoss: a loss is no number any more.
    """
    if "supernet" not in job.config["search"]:
        if found := _by_trial(job):
            _leave(job, found)
        return
    data = load_data(job.config)
    supernet, model = build_supernet(job.config, classes=len(data.classes), image_shape=data.image_shape)
    load_backbone(job.config, supernet)
    size = measure(model, data.image_shape)
    trainer = make("trainer", _settings(job.config))(folder=job.folder.path)
    device = trainer.strategy.root_device
    place = {"rank": job.place.rank, "world_size": job.place.world_size}
    halves = replace(data, batch_size=job.config["search"]["batch_size"])
    method = build_method(job.config, supernet, model)
    learns = "arch" in method.parameters()
    batches = Paired(*halves.search_loaders(device, arch=learns, **place))
    recipe = replace(_recipe(job.config, len(batches), len(data.splits.train)), derives=learns)
    module = SearchModule(model, method, recipe)
    progress = ProgressReport(job.report, "search")
    record = _epochs(job, data, progress, module, device)
    trainer.callbacks.extend([progress, record])
    last = checkpoints.to_resume(job.folder.path / "search", job.say)
    with job.stop.deferred(), environment_kept():
        trainer.fit(module, batches, ckpt_path=last, weights_only=True)
    genotype = choose(job, module)
    if trainer.is_global_zero:
        assert genotype is not None
        operations, fast = len(method.supernet.space.operations), "; ".join(module.fast)
        _finish(job, record, genotype, size, str(device), operations=operations, fast=fast)
    if job.place.world_size > 1:
        # Training reads what the first process has written just now; it uses the connection too.
        dist.barrier()


def choose(job: Job, module: SearchModule) -> Genotype | None:
    """The cells that the searched supernet stands for, or the best of those it can be; None in the other processes of a trial."""
    config, recipe = job.config, module.recipe
    if "candidates" in config["search"]:
        return _by_trial(job, module.method.supernet)
    found = module.method.derive(module.at(recipe.epochs * recipe.steps_per_epoch), config["search"]["name"])
    epochs = f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    where = f"{config['choices'].get('dataset', 'images')}, {epochs}, seed {recipe.seed}"
    return replace(found, source=f"found by search={found.name} on {where}")


def _by_trial(job: Job, supernet: Searched | None = None) -> Genotype | None:
    """The best candidate; the first process alone has them trained, the others wait for what it writes."""
    if job.place.rank == 0:
        return best_candidate(job, supernet=supernet)
    while not (job.folder.path / FILE).is_file():
        time.sleep(1.0)
    return None


def _settings(config: Config) -> Config:
    """The trainer's, for a search: it clips the weights' gradient alone and is not compiled."""
    if config["trainer"].get("precision") == "fp16":
        raise InputError(
            "trainer.precision: expected fp32 or bf16 for a search, came fp16; bf16 needs no loss scale"
        )
    return {
        **config["trainer"],
        "max_epochs": config["search"]["epochs"],
        "grad_clip": None,
        "compile": None,
    }


def _recipe(config: Config, steps_per_epoch: int, images: int) -> SearchRecipe:
    settings = config["search"]
    paths = {"weights": "optimizer", "arch": "arch_optimizer"}
    attack = settings.get("validation_attack")
    return SearchRecipe(
        make_optimizers={
            group: make(f"search.{path}", settings[path]) for group, path in paths.items() if path in settings
        },
        min_lr=settings["min_lr"],
        grad_clip=settings["grad_clip"],
        epochs=settings["epochs"],
        steps_per_epoch=steps_per_epoch,
        images=images,
        seed=config["seed"],
        validation_attack=make("search.validation_attack", attack) if attack else None,
    )


def _epochs(
    job: Job, data: ExperimentData, progress: ProgressReport, module: SearchModule, device: Any
) -> SearchEpochs:
    """The record of epochs, which tells each of them as it ends."""

    said: list[str] = []

    def on_epoch(row: dict[str, Any]) -> None:
        for words in module.fast[len(said) :]:
            said.append(words)
            job.say(f"trainer.fast: {words}")
        cell = stored.from_plain(row["genotype"]) if "genotype" in row else None
        progress.note = f"clean {row['val_clean']:.1%}" if "val_clean" in row else ""
        progress.picture = text(cell) if cell else ""
        job.say(_line(row, module.recipe.epochs))
        numbers = {f"search_{key}": value for key, value in row.items() if isinstance(value, int | float)}
        job.tracker.log(numbers, step=epoch_step(job.config, "search", row["epoch"]))

    batch_size = job.config["validation"]["batch_size"]
    place = {"rank": job.place.rank, "world_size": job.place.world_size}
    return SearchEpochs(
        job.folder.path,
        replace(data, batch_size=batch_size).val_loader(device, **place),
        validate_every=1,
        on_epoch=on_epoch,
        process=job.stop,
    )


def _line(row: Mapping[str, Any], epochs: int) -> str:
    said = f"search epoch {row['epoch']}/{epochs}"
    for key in ("loss", "ce", "loss_arch", "gap", "multiplier", "entropy"):
        if key in row:
            said += f"  {key} {row[key]:.4g}"
    return f"{said}  validation: clean {row['val_clean']:.2%}  {row['images_per_second']:,.0f} images/s"


def _finish(
    job: Job,
    record: SearchEpochs,
    genotype: Genotype,
    size: Size,
    device: str,
    *,
    operations: int,
    fast: str,
) -> None:
    path, rows = job.folder.path, record.rows
    weights.save(weights.from_checkpoint(path / "search" / checkpoints.LAST), path / "search" / SUPERNET)
    # Again: the process may have been killed between the last checkpoint and the file.
    record.write_rows()
    seconds = sum(row["seconds"] for row in rows)
    done = SearchRecord(
        method=genotype.name,
        epochs=len(rows),
        seconds=seconds,
        images_per_second=sum(row["images_per_second"] for row in rows) / len(rows),
        device=device_name(device),
        size=size,
        genotype=genotype.digest,
        fast=fast,
    )
    write_atomic(path / "search.json", records.dump(done))
    write_atomic(path / "search.png", search_curves.render(rows, operations=operations))
    if genotype_strip.cells_by_epoch(rows):
        write_atomic(path / "cells.png", genotype_strip.render(rows))
    _leave(job, genotype)


def _leave(job: Job, genotype: Genotype) -> None:
    """Draw, say and write down what was found."""
    path = job.folder.path
    for form in ("svg", "png"):
        write_atomic(path / f"genotype.{form}", genotype_drawing.render(genotype, form=form))
    job.say(text(genotype))
    # Last: with it the search is over.
    stored.write(genotype, path / FILE)
