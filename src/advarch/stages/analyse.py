"""Look into the trained network: every measure of the config's analysis, its numbers, table and picture."""

import csv
import inspect
import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from advarch import records
from advarch.datasets.experiment_data import ExperimentData
from advarch.errors import InputError
from advarch.evaluation.counted import check_weights
from advarch.files import write_atomic
from advarch.metrics.analysis import Analysis
from advarch.metrics.crafted import CraftedOnce
from advarch.metrics.measured import Measured
from advarch.records import AnalysisRecord, EvalRecord, MeasureResult, Progress
from advarch.reports import measures as pictures
from advarch.runs import folder, weights
from advarch.runs.build import load_data, make, model_builder
from advarch.runs.columns import WORST
from advarch.runs.measures import COLUMN, columns_config, measure_settings
from advarch.stages.columns import run_columns, works
from advarch.stages.evaluate import bench_of_run, device_of, lay_out, write_outcomes
from advarch.stages.job import Job
from advarch.stages.progressing import Progressing
from advarch.stages.shares import OutcomeFile
from advarch.types import Attack, Batch


def run_analysis(job: Job) -> None:
    """Run every measure that is not there yet, in the first process; one that says nothing about the network is skipped.

    Writes analysis.json after each measure, and analysis/<checkpoint>/<measure>.csv and .png.

    Raises:
        InputError: there are no weights, or the config can't be honoured.
    """
    if job.place.rank:
        return
    config = job.config
    analysis: Analysis = make("analysis", config["analysis"])
    data = load_data(config)
    device = device_of(config, job.place.local_rank)
    look = Look(job, analysis, data, device, model_builder(config, data))
    missing = folder.missing_measures(job.folder.analysis(), config)
    for done, (checkpoint, name) in enumerate(missing):
        job.report(Progress("analyse", done, len(missing), "measures", None, f"{checkpoint}/{name}"))
        look.into(checkpoint)
        _keep(job, look, checkpoint, name, look.measured(name))


@dataclass
class Look:
    """What the measures are given: one network with the weights of one checkpoint after the other, and images."""

    job: Job
    analysis: Analysis
    data: ExperimentData
    device: torch.device
    build: Callable[[], nn.Module]
    checkpoint: str = ""
    attack: Attack | None = None
    """The analysis' own, which remembers the images that it made on this network for the measures that ask for the same."""

    @cached_property
    def model(self) -> nn.Module:
        model = self.build().to(self.device)
        if self.device.type == "cpu":
            lay_out(model, self.device)
        return model

    @cached_property
    def images(self) -> Batch:
        """The test images that are looked at."""
        return self.data.test_sample(self.device, limit=self.analysis.limit)

    def into(self, checkpoint: str) -> None:
        """Load the weights of that checkpoint."""
        if checkpoint != self.checkpoint:
            weights.load_into(self.model, self.job.folder.path / weights.FILES[checkpoint])
            check_weights(self.model)
            self.checkpoint = checkpoint
            self.attack = CraftedOnce(self.analysis.attack, self.model, self.images.x, self.images.y)

    def measured(self, name: str) -> MeasureResult:
        """What that measure finds, or why it finds nothing."""
        node = self.job.config["analysis"]["measures"][name]
        measure = self.analysis.measures[name]
        kind = node["_target_"].rpartition(".")[2]
        settings = measure_settings(self.job.config)[name]
        began = time.perf_counter()
        try:
            found = measure(self.model, self.images.x, self.images.y, **self._asked(measure, node))
        except InputError as error:
            return MeasureResult(kind, settings, skipped=str(error))
        return MeasureResult(
            kind,
            settings,
            numbers={key: _finite(value) for key, value in found.numbers.items()},
            table={key: tuple(_finite(value) for value in column) for key, column in found.table.items()},
            seconds=time.perf_counter() - began,
        )

    def _asked(self, measure: Callable[..., Measured], node: Mapping[str, Any]) -> dict[str, Any]:
        """What a measure asks for by name and its config does not hold."""
        asked = inspect.signature(measure).parameters
        given: dict[str, Any] = {}
        if "attack" in asked and "attack" not in node:
            given["attack"] = self.attack
        if "initial" in asked:
            given["initial"] = self.build().to(self.device)
        if "record" in asked:
            given["record"] = self._evaluated(node)
        return given

    def _evaluated(self, node: Mapping[str, Any]) -> EvalRecord:
        """The columns that a measure is made of, those that the evaluation has run taken from it."""
        config, name = columns_config(self.job.config, node), node[COLUMN]
        bench = bench_of_run(self.job, config, self.data, self.device)
        bench = replace(
            bench,
            columns={key: c for key, c in bench.columns.items() if key != WORST},
            own=None,
            own_index=None,
        )

        def report(progress: Progress) -> None:
            self.job.report(replace(progress, stage="analyse"))

        progressing = Progressing(report, works(bench, [self.checkpoint]), self.job.stop)
        file = OutcomeFile(bench.folder, write_outcomes)
        with self.job.stop.deferred():
            record = run_columns(bench, self.model, self.checkpoint, file, progressing)
        assert record is not None, "alone, a process gathers everything"
        own = record.result(name)
        assert own is not None
        steps = config["evaluation"]["attacks"][name].get("steps")
        also = [replace(own, name=f"{name}@eps={bench.threat.eps:g}")]
        also += [replace(own, name=f"{name}@steps={steps:g}")] if steps is not None else []
        return replace(record, results=(*record.results, *also))


def _keep(job: Job, look: Look, checkpoint: str, name: str, result: MeasureResult) -> None:
    """Write what a measure found: first its files, then the record that says that they are there."""
    if result.skipped:
        job.say(f"{checkpoint}/{name}: skipped: {result.skipped}")
    else:
        numbers = ", ".join(
            f"{key} {value:.4g}" for key, value in result.numbers.items() if value is not None
        )
        job.say(f"{checkpoint}/{name}: {numbers}  ({result.seconds:.1f} s)")
        path = job.folder.path / "analysis" / checkpoint / name
        write_atomic(path.with_name(f"{name}.csv"), _csv(result.table))
        write_atomic(path.with_name(f"{name}.png"), pictures.render(result))
    before = job.folder.analysis()
    checkpoints = dict(before.checkpoints) if before else {}
    images, old = len(look.images.y), checkpoints.get(checkpoint)
    # Numbers of other images do not belong beside these.
    known = old.results if old is not None and old.images == images else {}
    record = AnalysisRecord(look.data.name, images, {**known, name: result})
    merged = folder.Analysis({**checkpoints, checkpoint: record})
    write_atomic(job.folder.path / "analysis.json", records.dump(merged))
    job.tracker.summarise({f"{checkpoint}/{name}/{key}": value for key, value in result.numbers.items()})


def _csv(table: Mapping[str, tuple[Any, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows([_short(value) for value in row] for row in zip(*table.values(), strict=True))
    return text.getvalue()


def _short(value: Any) -> Any:
    """Nine digits tell float32 numbers apart; what follows them is noise of the arithmetic."""
    return f"{value:.9g}" if isinstance(value, float) else value


def _finite(value: Any) -> Any:
    """JSON has no word for infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
