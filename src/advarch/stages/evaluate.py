"""Attack the trained network and keep the outcome of every test image."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from advarch import records
from advarch.datasets.experiment_data import ExperimentData
from advarch.datasets.images import Images
from advarch.evaluation.outcomes import save_outcomes
from advarch.evaluation.sanity import TABLE_WIDE, TEXTS
from advarch.evaluation.suite import Suite
from advarch.files import write_atomic
from advarch.layers.layout import unsafe_convolution
from advarch.records import AttackResult, EvalRecord
from advarch.reports.closing import threat
from advarch.runs import weights
from advarch.runs.build import load_data, make, model_builder
from advarch.runs.columns import WORST, plan
from advarch.runs.config import Config
from advarch.runs.folder import Evaluation
from advarch.runs.networks import network_of_run
from advarch.stages.columns import Bench, run_columns, works
from advarch.stages.job import Job
from advarch.stages.progressing import Progressing
from advarch.stages.shares import OutcomeFile, sign_of_life

EARLIER = "from an earlier suite"
"""How the note of a column begins that was kept although the suite run last does not ask for it."""


def run_evaluation(job: Job) -> None:
    """Evaluate every checkpoint and column that the config asks for and that is not there yet.

    Writes outcomes.npz, evaluation.json, gallery.png, and images/ on request.

    Raises:
        InputError: there are no weights, or the config can't be honoured.
    """
    config = job.config
    data = load_data(config)
    device = device_of(config, job.place.local_rank)
    model = model_builder(config, data)().to(device)
    # On a GPU that layout pays in half precision only, so there it is the config's to say.
    if config["trainer"].get("channels_last") or device.type == "cpu":
        lay_out(model, device)
    bench = bench_of_run(job, config, data, device)

    def load(checkpoint: str) -> nn.Module:
        weights.load_into(model, job.folder.path / weights.FILES[checkpoint])
        return model

    networks: dict[str, Callable[[], nn.Module]] = {
        name: partial(load, name) for name in bench.suite.checkpoints
    }
    evaluate_networks(job, bench, networks, same=_same_weights(job.folder.path, bench.suite))


def _same_weights(run: Path, suite: Suite) -> dict[str, str]:
    """Which checkpoint is an earlier one again: the best epoch was the last. With images to save each has its own."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for name in suite.checkpoints if len(suite.checkpoints) > 1 and not suite.save_images else ():
        # What is not there is told by who loads it.
        with suppress(FileNotFoundError), (run / weights.FILES[name]).open("rb") as file:
            twin = first.setdefault(hashlib.file_digest(file, "sha256").digest(), name)
            same |= {name: twin} if twin != name else {}
    return same


def bench_of_run(job: Job, config: Config, data: ExperimentData, device: torch.device) -> Bench:
    """The suite of a config on its test images, this process's share among them."""
    suite: Suite = make("evaluation", config["evaluation"])
    sharing = replace(data, batch_size=suite.batch_size)
    loader = sharing.test_loader(device, limit=suite.limit)
    index = np.concatenate([batch.index.cpu().numpy() for batch in loader])
    own, own_index = sharing.test_share(
        device, limit=suite.limit, rank=job.place.rank, world_size=job.place.world_size
    )

    def source(folder: str) -> nn.Module:
        return network_of_run(Path(folder), "best", (len(data.classes), data.image_shape)).to(device)

    return Bench(
        config=config,
        suite=suite,
        threat=make("threat", config["threat"]),
        columns=plan(config),
        loader=loader,
        index=index,
        labels=data.test_part.y[index],
        classes=data.classes,
        image_shape=data.image_shape,
        dataset=data.name,
        folder=job.folder.path,
        seed=config["seed"],
        network_of=cache(source),
        chosen_on=_bytes(data.train_part.x, data.splits.val),
        evaluated=_bytes(data.test_part.x, index),
        own=own,
        own_index=own_index,
    )


def lay_out(model: nn.Module, device: torch.device) -> None:
    """Lay the weights out as (batch, height, width, channel), which convolutions are faster on, where that is safe."""
    if device.type != "cpu" or unsafe_convolution(model) is None:
        model.to(memory_format=torch.channels_last)


def evaluate_networks(
    job: Job,
    bench: Bench,
    networks: Mapping[str, Callable[[], nn.Module]],
    *,
    same: Mapping[str, str] | None = None,
) -> None:
    """Run what is missing of every column for each network, by the name of its checkpoint, and write it down.

    Args:
        job: the run.
        bench: with what.
        networks: by checkpoint.
        same: the checkpoint before it that has the same weights, by checkpoint: it is evaluated once.

    Raises:
        InputError: a network, images or labels that can't be used.
    """
    file = OutcomeFile(bench.folder, write_outcomes, job.place)
    progressing = Progressing(job.report, works(bench, networks), job.stop)
    found: dict[str, EvalRecord] = {}
    if job.place.rank:
        file.save()
    with job.stop.deferred(), sign_of_life(file.path):
        for checkpoint, network in networks.items():
            if twin := (same or {}).get(checkpoint):
                file.adopt(checkpoint, twin)
                job.say(f"{checkpoint}: the weights are those of {twin}, so are the outcomes")
            record = run_columns(bench, network(), checkpoint, file, progressing)
            if record is not None:
                record = (
                    replace(record, results=tuple(_once(r, twin) for r in record.results)) if twin else record
                )
                found[checkpoint] = record
                _tell(job, checkpoint, record, len(bench.index))
    if found:
        merge(job, found)
        file.tidy()


def _once(result: AttackResult, twin: str) -> AttackResult:
    said = f"evaluated once, as {twin}, whose weights are the same"
    return replace(result, note=f"{result.note}; {said}" if result.note else said)


def _tell(job: Job, checkpoint: str, record: EvalRecord, images: int) -> None:
    accuracies = ", ".join(
        f"{r.name} {r.accuracy:.2%}" + (f" (n = {r.total:,})" if r.total != images else "")
        for r in record.results
    )
    job.say(f"{checkpoint}: {accuracies}  ({record.dataset}, n = {images:,}, {threat(record)})")
    flags = dict.fromkeys((*record.flags, *(flag for r in record.results for flag in r.flags)))
    for flag in flags:
        if flag not in TABLE_WIDE:
            job.say(f"{checkpoint}: flag {flag}: {TEXTS[flag]}")


def _bytes(images: Images, index: np.ndarray) -> np.ndarray | None:
    """Those images as they are stored; None for images that would have to be decoded."""
    return images[index] if isinstance(images, np.ndarray) else None


def device_of(config: Config, number: int = 0) -> torch.device:
    """The GPU of that number where there is one and the config does not say cpu."""
    use_gpu = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    return torch.device("cuda", number) if use_gpu else torch.device("cpu")


def merge(job: Job, found: dict[str, EvalRecord]) -> None:
    """Keep columns of earlier evaluations that this one did not ask for."""
    before = job.folder.evaluation()
    merged = dict(before.checkpoints) if before else {}
    for checkpoint, record in found.items():
        old = merged.get(checkpoint)
        kept: tuple[AttackResult, ...] = ()
        if old is not None and old.results and old.results[0].settings == record.results[0].settings:
            # The clean column's digest is that of ball, images and seed: only then do columns belong side by side.
            names = {result.name for result in record.results}
            kept = tuple(_earlier(result, names) for result in old.results if result.name not in names)
        merged[checkpoint] = replace(record, results=record.results + kept)
    write_atomic(job.folder.path / "evaluation.json", records.dump(Evaluation(merged)))


def _earlier(result: AttackResult, beside: Collection[str]) -> AttackResult:
    """The result with a note that the columns beside it, `worst` among them, come from a later suite."""
    if result.note.startswith(EARLIER):
        return result
    said = f"{EARLIER}, not in {WORST}" if WORST in beside else EARLIER
    return replace(result, note=f"{said}; {result.note}" if result.note else said)


def write_outcomes(file: OutcomeFile, temporary: Path) -> None:
    """What an OutcomeFile writes itself with."""
    with temporary.open("wb") as stream:
        save_outcomes(file.own, file.settings, stream)
