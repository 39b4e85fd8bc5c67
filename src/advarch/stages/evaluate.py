"""Attack the trained network and keep the outcome of every test image."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from advarch import records
from advarch.evaluation.evaluate import Outcome, Suite, evaluate, load_outcomes, result, save_outcomes
from advarch.files import replace_atomic, write_atomic
from advarch.records import EvalRecord, Progress
from advarch.runs import weights
from advarch.runs.build import load_data, make, model_builder
from advarch.runs.folder import Evaluation, columns
from advarch.stages.job import Job

SAVE_SECONDS = 10.0
"""Outcomes are saved at most this often within an attack; a killed evaluation loses no more."""


class OutcomeFile:
    """outcomes.npz: every outcome of the run, whole on disk at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        self.settings: dict[str, str] = {}
        self._saved = time.monotonic()
        if path.exists():
            self.outcomes, self.settings = load_outcomes(path)

    def take(self, key: str, settings: str, index: np.ndarray) -> Outcome:
        """The outcome of that column so far; a new one when it was computed with other settings."""
        if self.settings.get(key) != settings or not np.array_equal(self.outcomes[key].index, index):
            self.outcomes[key], self.settings[key] = Outcome.unknown(index), settings
        return self.outcomes[key]

    def save(self) -> None:
        """Write all outcomes now."""
        replace_atomic(self.path, lambda temporary: _write(self, temporary))
        self._saved = time.monotonic()

    def save_sometimes(self) -> None:
        """Write when the last time is long ago."""
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()


def run_evaluation(job: Job) -> None:
    """Evaluate every checkpoint and column that the config asks for and that is not there yet.

    Writes outcomes.npz and evaluation.json.

    Raises:
        InputError: there are no weights, or the config can't be honoured.
    """
    config, path = job.config, job.folder.path
    suite: Suite = make("evaluation", config["evaluation"])
    threat = make("threat", config["threat"])
    data = load_data(config)
    use_gpu = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    device = torch.device("cuda" if use_gpu else "cpu")
    model = model_builder(config, data)().to(device)
    if config["trainer"].get("channels_last"):
        model.to(memory_format=torch.channels_last)
    loader = replace(data, batch_size=suite.batch_size).test_loader(device, limit=suite.limit)
    index = np.concatenate([batch.index.cpu().numpy() for batch in loader])
    images = len(index)
    file = OutcomeFile(path / "outcomes.npz")
    wanted = columns(config)
    found: dict[str, EvalRecord] = {}
    done, total = 0, images * len(wanted) * len(suite.checkpoints)
    for checkpoint in suite.checkpoints:
        weights.load_into(model, path / weights.FILES[checkpoint])
        clean = None
        for name, settings in wanted.items():
            key = f"{checkpoint}/{name}"
            outcome = file.take(key, settings, index)
            if not outcome.complete:
                step = _step(job, file, done, total, key)
                attack = suite.attacks[name] if name != "clean" else None
                evaluate(
                    model,
                    loader,
                    name,
                    attack,
                    outcome,
                    threat=threat,
                    seed=config["seed"],
                    clean=clean,
                    save=step,
                )
                file.save()
            clean = outcome.correct if name == "clean" else clean
            done += images
        results = tuple(result(name, file.outcomes[f"{checkpoint}/{name}"], wanted[name]) for name in wanted)
        found[checkpoint] = EvalRecord(checkpoint, data.name, str(threat.norm), threat.eps, results)
        job.say(
            f"{checkpoint}: "
            + ", ".join(f"{r.name} {r.accuracy:.2%}" for r in results)
            + f"  (n = {images:,})"
        )
    _merge(job, found)


def _step(job: Job, file: OutcomeFile, done: int, total: int, key: str):  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    start = int((file.outcomes[key].correct >= 0).sum())

    def step() -> None:
        file.save_sometimes()
        now = int((file.outcomes[key].correct >= 0).sum())
        left = (time.perf_counter() - began) / max(1, now - start) * (total - done - now)
        job.report(Progress("evaluate", done + now, total, "images", left, key))

    return step


def _merge(job: Job, found: dict[str, EvalRecord]) -> None:
    """Keep columns of earlier evaluations that this one did not ask for."""
    before = job.folder.evaluation()
    merged = dict(before.checkpoints) if before else {}
    for checkpoint, record in found.items():
        old = merged.get(checkpoint)
        same_ball = old is not None and (old.norm, old.eps) == (record.norm, record.eps)
        names = {r.name for r in record.results}
        kept = tuple(r for r in old.results if r.name not in names) if old is not None and same_ball else ()
        merged[checkpoint] = replace(record, results=record.results + kept)
    write_atomic(job.folder.path / "evaluation.json", records.dump(Evaluation(merged)))
    job.tracker.summarise(
        {f"{checkpoint}/{r.name}": r.accuracy for checkpoint, record in found.items() for r in record.results}
    )


def _write(file: OutcomeFile, temporary: Path) -> None:
    with temporary.open("wb") as stream:
        save_outcomes(file.outcomes, file.settings, stream)
