"""What is known about a run, as frozen data with a schema version: what reports read and nothing else. No torch."""

import dataclasses
import functools
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from advarch.errors import InputError

SCHEMA = 1

State = Literal["missing", "running", "interrupted", "done", "failed"]
"""missing: never started. interrupted: started, not finished, and no process holds it now."""

Record = TypeVar("Record")


@dataclass(frozen=True)
class Progress:
    """Where a running stage stands: `step` of `total` (epochs when training, images when evaluating).

    `picture` is what a terminal shows below the bar.
    """

    stage: str
    step: int
    total: int
    unit: str
    seconds_left: float | None = None
    note: str = ""
    picture: str = ""


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run. Times are seconds since 1970; `error` is the last line of what went wrong."""

    state: State = "missing"
    started: float | None = None
    finished: float | None = None
    attempts: int = 0
    host: str = ""
    error: str = ""


@dataclass(frozen=True)
class RunStatus:
    """status.json: the truth about a run."""

    stages: dict[str, StageStatus] = field(default_factory=dict)
    progress: Progress | None = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class Size:
    """Exact learnable parameters, and multiply-adds of one forward pass of one image (convolutions and linear layers).

    `activations` is what a forward pass in training keeps for its backward pass, in bytes per image; None where it was not
    counted.
    """

    parameters: int
    macs: int
    schema: int = SCHEMA
    activations: int | None = None


@dataclass(frozen=True)
class PartResult:
    """One attack of a sequence: it saw only the images that still stood, and `fooled` some of the `attacked`."""

    name: str
    attacked: int
    fooled: int
    forwards: int
    seconds: float


@dataclass(frozen=True)
class AttackResult:
    """One column of an evaluation.

    `correct` of `total` images keep their label; `low` and `high` bound the accuracy (Wilson, 95 %). Distances are over
    the images that the attack fooled (None when it fooled none), in the threat's norm. `forwards` counts forward passes
    of single images, a backward pass to the input counting as one more.
    """

    name: str
    correct: int
    total: int
    low: float
    high: float
    mean_distance: float | None
    median_distance: float | None
    forwards: int
    seconds: float
    flags: tuple[str, ...] = ()
    settings: str = ""
    """Digest of the settings this column was computed with."""
    note: str = ""
    """What the number does not say by itself: what its distances are of, on which images it was run."""
    attacked: int = 0
    """Images that the attack was run on: those classified right without it."""
    copied: int = 0
    """Of these, attacked on a copy of the network that is cheaper to attack; all verdicts are the network's."""
    queries: int = 0
    """Forward passes of single images, without the backward ones, the verification's among them."""
    mean_queries: float | None = None
    """Queries of the attack on one image, over the images it was run on; None where not every image's are known."""
    median_queries: float | None = None
    parts: tuple[PartResult, ...] = ()
    """Of a sequence such as AutoAttack: its attacks in order."""

    @property
    def accuracy(self) -> float:
        """Share of images that keep their label, in [0, 1]."""
        return self.correct / self.total

    @property
    def images_per_second(self) -> float | None:
        """Attacked images per second, verification included."""
        return self.attacked / self.seconds if self.seconds > 0 and self.attacked else None


@dataclass(frozen=True)
class EvalRecord:
    """One checkpoint ("best" or "last") attacked by one suite. The first result is always `clean`."""

    checkpoint: str
    dataset: str
    norm: str
    eps: float
    results: tuple[AttackResult, ...]
    flags: tuple[str, ...] = ()
    schema: int = SCHEMA

    def result(self, name: str) -> AttackResult | None:
        """The result of that name, or None."""
        return next((result for result in self.results if result.name == name), None)


@dataclass(frozen=True)
class MeasureResult:
    """What a measure found (None: not finite), or why it was `skipped`; `kind` its function, `settings` their digest."""

    kind: str
    settings: str
    numbers: dict[str, float | None] = field(default_factory=dict)
    table: dict[str, tuple[float | int | str | None, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    skipped: str = ""


@dataclass(frozen=True)
class AnalysisRecord:
    """One checkpoint looked into, on that many test images: its measures by name."""

    dataset: str
    images: int
    results: dict[str, MeasureResult]


@dataclass(frozen=True)
class TrainRecord:
    """train.json: how training went. `best_epoch` counts from 1 and is chosen on robust validation accuracy."""

    epochs: int
    best_epoch: int
    best_val_robust: float
    last_val_robust: float
    seconds: float
    images_per_second: float
    device: str
    schema: int = SCHEMA
    stopped: str = ""
    """Why training ended before its last epoch."""
    fast: str = ""
    """What the fast path did."""


@dataclass(frozen=True)
class SearchRecord:
    """search.json: how a search went. `size` is the supernet's, the architecture's parameters in it."""

    method: str
    epochs: int
    seconds: float
    images_per_second: float
    device: str
    size: Size
    genotype: str
    """Digest of what it found."""
    schema: int = SCHEMA
    fast: str = ""
    """What the fast path did."""


@dataclass(frozen=True)
class RunRecord:
    """All that a table or figure can show of one run, found or missing."""

    name: str
    folder: str
    config: dict[str, Any]
    state: State
    error: str = ""
    progress: Progress | None = None
    size: Size | None = None
    train: TrainRecord | None = None
    evaluations: dict[str, EvalRecord] = field(default_factory=dict)
    curves: tuple[dict[str, float], ...] = ()
    """metrics.csv, one row per epoch."""
    schema: int = SCHEMA
    analyses: dict[str, AnalysisRecord] = field(default_factory=dict)
    search: SearchRecord | None = None
    searched: tuple[dict[str, Any], ...] = ()
    """search.jsonl, one row per epoch."""


def dump(record: Any) -> str:
    """A record as JSON text, keys in the order of the fields."""
    return json.dumps(dataclasses.asdict(record), indent=2) + "\n"


def load(kind: type[Record], text: str) -> Record:
    """A record from JSON text.

    Raises:
        ValueError: not JSON, another schema version, or a missing or unknown field.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected {kind.__name__} as JSON, came text that is not JSON ({error})") from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        came = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"expected {kind.__name__} of schema {SCHEMA}, came {came!r}; run the stage again")
    return typing.cast(Record, _build(kind, value))


def read(kind: type[Record], path: Path) -> Record | None:
    """The record in that file, or None when there is no file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return load(kind, path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; delete it and run the job again") from None


_hints = functools.cache(typing.get_type_hints)
_PLAIN = frozenset([Any, str, int, float, bool])


def _build(kind: Any, value: Any) -> Any:
    """Rebuild nested dataclasses, tuples and dicts from what JSON made of them."""
    if value is None or kind in _PLAIN:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        names = {f.name for f in dataclasses.fields(kind)}
        if not isinstance(value, dict) or not set(value) <= names:
            raise ValueError(f"expected a {kind.__name__} with the fields {sorted(names)}, came {value!r}")
        try:
            return kind(**{name: _build(hints[name], item) for name, item in value.items()})
        except TypeError as error:
            raise ValueError(f"expected a whole {kind.__name__}, came {value!r}: {error}") from None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _build(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in value)
    if origin is dict:
        return {key: _build(arguments[1], item) for key, item in value.items()}
    return value
