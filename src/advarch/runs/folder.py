"""A run folder: one experiment's config, status and results. The same config is always the same folder. No torch."""

import csv
import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advarch import records
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.genotype.stored import FILE
from advarch.records import (
    AnalysisRecord,
    EvalRecord,
    Progress,
    RunRecord,
    RunStatus,
    SearchRecord,
    Size,
    StageStatus,
    State,
    TrainRecord,
)
from advarch.runs import config as configs
from advarch.runs.columns import plan
from advarch.runs.config import Config
from advarch.runs.genotypes import with_found
from advarch.runs.lock import holder
from advarch.runs.measures import measure_settings

PROGRESS_SECONDS = 1.0
"""A running stage writes its progress at most this often."""


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json: the records of each checkpoint."""

    checkpoints: dict[str, EvalRecord]
    schema: int = records.SCHEMA


@dataclass(frozen=True)
class Analysis:
    """analysis.json: the records of each checkpoint."""

    checkpoints: dict[str, AnalysisRecord]
    schema: int = records.SCHEMA


class RunFolder:
    """The files of one run, each written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0.0
        self._writing = threading.Lock()

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    def rank_error(self, rank: int) -> Path:
        """Where a process of a distributed job, but the first, leaves its last words for its parent."""
        return self.path / f".rank{rank}.error"

    def held_by(self, pid: int) -> bool:
        """Whether that process of this machine works in the folder."""
        return holder(self.path) == f"{socket.gethostname()}:{pid}"

    def config(self) -> Config:
        """The resolved config, with the cells that its own search has found. Raises InputError when there is none."""
        return with_found(configs.load(self.config_path), self.path)

    def write_config(self, config: Config) -> None:
        """Write config.yaml, unless the same text lies there."""
        text = configs.dump(config)
        if not self.config_path.exists() or self.config_path.read_text() != text:
            write_atomic(self.config_path, text)

    def status(self) -> RunStatus:
        """status.json, or an empty status."""
        return records.read(RunStatus, self.path / "status.json") or RunStatus()

    def _status_or_new(self) -> RunStatus:
        """A damaged status.json is written anew: each stage finds out by itself what is left to do."""
        try:
            return self.status()
        except InputError:
            return RunStatus()

    def _write_status(self, status: RunStatus) -> None:
        write_atomic(self.path / "status.json", records.dump(status))

    def begin(self, stage: str) -> None:
        """Say that a stage is running now."""
        with self._writing:
            status = self._status_or_new()
            before = status.stages.get(stage, StageStatus())
            now = StageStatus("running", time.time(), None, before.attempts + 1, socket.gethostname())
            self._write_status(replace(status, stages={**status.stages, stage: now}, progress=None))

    def end(self, stage: str, state: State, error: str = "") -> None:
        """Say how a stage ended."""
        with self._writing:
            status = self.status()
            before = status.stages.get(stage, StageStatus())
            ended = replace(before, state=state, finished=time.time(), error=error)
            self._write_status(replace(status, stages={**status.stages, stage: ended}, progress=None))

    def report(self, progress: Progress) -> None:
        """Note where the running stage stands; writes at most once a second."""
        if time.monotonic() - self._written >= PROGRESS_SECONDS:
            with self._writing:
                self._written = time.monotonic()
                self._write_status(replace(self.status(), progress=progress))

    def evaluation(self) -> Evaluation | None:
        """evaluation.json, or None."""
        return records.read(Evaluation, self.path / "evaluation.json")

    def analysis(self) -> Analysis | None:
        """analysis.json, or None."""
        return records.read(Analysis, self.path / "analysis.json")

    def curves(self) -> tuple[dict[str, float], ...]:
        """metrics.csv, one dict per epoch; empty cells are left out."""
        path = self.path / "metrics.csv"
        if not path.exists():
            return ()
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            return tuple({key: float(cell) for key, cell in row.items() if cell} for row in rows)

    def state(self, config: Config) -> tuple[State, str]:
        """What has become of the stages that `config` asks for, and the last line of an error."""
        try:
            return self._state(config)
        except InputError as error:
            return "failed", str(error)

    def _state(self, config: Config) -> tuple[State, str]:
        stages = self.status().stages
        wanted = [(stage, stages.get(stage, StageStatus())) for stage in config["stages"]]
        failed = next((status for _, status in wanted if status.state == "failed"), None)
        if holder(self.path) is not None:
            return "running", ""
        if failed is not None:
            return "failed", failed.error
        if all(self.finished(stage, config) for stage, _ in wanted):
            return "done", ""
        started = any(status.state != "missing" for _, status in wanted)
        # Damaged ones say so.
        self.evaluation(), self.analysis()
        return ("interrupted" if started else "missing"), ""

    def finished(self, stage: str, config: Config) -> bool:
        """Whether a stage has nothing left to do for this config."""
        try:
            if self.status().stages.get(stage, StageStatus()).state != "done":
                return False
            if stage == "search":
                return (self.path / FILE).is_file()
            if stage == "evaluate":
                return not missing_columns(self.evaluation(), config)
            return stage != "analyse" or not missing_measures(self.analysis(), config)
        except InputError:
            return False

    def record(self, config: Config | None = None) -> RunRecord:
        """All that reports may know of this run."""
        config = config or self.config()
        state, error = self.state(config)
        try:
            evaluation, analysis = self.evaluation(), self.analysis()
        except InputError as damaged:
            evaluation, analysis, state, error = None, None, "failed", str(damaged)
        return RunRecord(
            name=self.path.name,
            folder=os.path.relpath(self.path),
            config=config,
            state=state,
            error=error,
            progress=self._status_or_new().progress if state == "running" else None,
            size=records.read(Size, self.path / "size.json"),
            train=records.read(TrainRecord, self.path / "train.json"),
            evaluations=evaluation.checkpoints if evaluation else {},
            curves=self.curves(),
            analyses=analysis.checkpoints if analysis else {},
            search=records.read(SearchRecord, self.path / "search.json"),
            searched=tuple(map(json.loads, _lines(self.path / "search.jsonl"))),
        )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def missing_columns(evaluation: Evaluation | None, config: Config) -> list[tuple[str, str]]:
    """The (checkpoint, column) pairs that are not there yet, or were computed with other settings."""
    missing = []
    for checkpoint in config["evaluation"]["checkpoints"]:
        record = evaluation.checkpoints.get(checkpoint) if evaluation else None
        for name, column in plan(config).items():
            result = record.result(name) if record else None
            if result is None or result.settings != column.settings:
                missing.append((checkpoint, name))
    return missing


def missing_measures(analysis: Analysis | None, config: Config) -> list[tuple[str, str]]:
    """The (checkpoint, measure) pairs that are not there yet, or were computed with other settings."""
    missing = []
    for checkpoint in config["analysis"]["checkpoints"]:
        record = analysis.checkpoints.get(checkpoint) if analysis else None
        for name, settings in measure_settings(config).items():
            result = record.results.get(name) if record else None
            if result is None or result.settings != settings:
                missing.append((checkpoint, name))
    return missing


def folder_for(config: Config, label: str = "") -> RunFolder:
    """The run folder of a config: outputs/<sweep or single>/<readable name>-<digest>.

    A folder of that digest is taken whatever its readable name, so the same experiment is never run twice.
    """
    sweep = (config.get("sweep") or {}).get("name") or "single"
    parent = Path(config["outputs"]) / str(sweep)
    digest = configs.experiment_digest(config)
    found = sorted(parent.glob(f"*-{digest}")) if parent.is_dir() else []
    return RunFolder(found[0] if found else parent / f"{readable(config, label)}-{digest}")


def readable(config: Config, label: str = "") -> str:
    """A name a person recognises: the chosen groups, what the sweep varies, the seed."""
    choices = config.get("choices") or {}
    groups = ("dataset", "search", "backbone", "defense")
    words = [str(choices[group]) for group in groups if choices.get(group, "none") != "none"]
    words += [label] if label else []
    words += [f"s{config['seed']}"]
    return re.sub(r"[^A-Za-z0-9_.=+-]+", "-", "-".join(words))[:120].strip("-")


def write_json(path: Path, value: Any) -> None:
    """A plain value as JSON, written whole or not at all."""
    write_atomic(path, json.dumps(value, indent=2, default=str) + "\n")
