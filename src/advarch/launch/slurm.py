"""What Slurm is asked for: the settings, checked, and jobs cut into tasks and arrays that it takes."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen

from advarch.errors import InputError
from advarch.runs.binding import bind_fields
from advarch.runs.config import Config

KEY = "hydra.launcher"

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d{1,2}))?(?::(\d{1,2}))?")
_GPUS = re.compile(r"(?:[\w.-]+:)?\d+")
_MEMORY = re.compile(r"\d+[KMGT]", re.IGNORECASE)
_OWN = (
    *("--array", "--chdir", "--cpus-per-task", "--gres", "--job-name", "--nodes", "--ntasks-per-node"),
    *("--open-mode", "--output", "--requeue", "--signal", "--time"),
)
"""Options that the script sets itself."""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """The settings of hydra/launcher=slurm; conf/hydra/launcher/slurm.yaml says what each is for."""

    partition: str | int | None = None
    account: str | int | None = None
    qos: str | int | None = None
    constraint: str | None = None
    nodes: Annotated[int, Ge(1)] = 1
    gpus: Annotated[int, Ge(0)] | str | None = None
    cpus: Annotated[int, Ge(1)] = 4
    memory: str | int | None = None
    time: Annotated[str, MinLen(1)] | Annotated[int, Ge(1)] = "24:00:00"
    parallel: Annotated[int, Ge(1)] | None = None
    jobs_per_task: Annotated[int, Ge(1)] = 1
    setup: list[str] = field(default_factory=list)
    container: str | None = None
    python: str | None = None
    sbatch: list[str] = field(default_factory=list)
    warning: Annotated[int, Ge(1)] = 120
    requeues: Annotated[int, Ge(0)] = 20
    wait: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Array:
    """One array: `count` tasks, the first of which runs line `first` of tasks.txt, `parallel` of them at a time."""

    first: int
    count: int
    parallel: int | None = None
    job: str = ""
    """Slurm's number, once it is submitted."""


def settings(values: dict[str, Any]) -> Slurm:
    """The settings, every key known and every value in its bounds.

    Raises:
        InputError: one is not.
    """
    slurm = Slurm(**bind_fields(KEY, values, Slurm))
    for each in fields(Slurm):
        value = getattr(slurm, each.name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and ("\n" in text or not text.strip()):
                raise _bad(each.name, "one line of text", value)
    for name in ("partition", "account", "qos", "constraint", "memory"):
        if " " in str(getattr(slurm, name)):
            raise _bad(name, "one word", getattr(slurm, name))
    for line in slurm.sbatch:
        option = line.partition("=")[0].split()[0]
        if not option.startswith("--") or option in _OWN:
            raise _bad(
                "sbatch", "options such as '--mail-type=END', but none that the script sets itself", line
            )
    if slurm.memory is not None and not _MEMORY.fullmatch(str(slurm.memory)):
        raise _bad("memory", "a number with K, M, G or T, as in 32G", slurm.memory)
    if isinstance(slurm.gpus, str) and not _GPUS.fullmatch(slurm.gpus):
        raise _bad("gpus", "a number, or type:number as in a100:4", slurm.gpus)
    if seconds(slurm.time) < slurm.warning + 60:
        raise _bad(
            "time", f"at least a minute more than hydra.launcher.warning ({slurm.warning} s)", slurm.time
        )
    if slurm.jobs_per_task > 1 and slurm.nodes > 1:
        raise _bad("jobs_per_task", "1 for jobs of several nodes", slurm.jobs_per_task)
    return slurm


def _bad(name: str, expected: str, came: Any) -> InputError:
    return InputError(f"{KEY}.{name}: expected {expected}, came {came!r}")


def seconds(time: str | int) -> int:
    """A time limit as Slurm reads it: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S.

    Raises:
        InputError: it is none of these.
    """
    match = _TIME.fullmatch(str(time))
    if match is None:
        raise _bad("time", "minutes, H:M:S or D-H:M:S", time)
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, rest = [*numbers, 0, 0][:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + rest
    if len(numbers) == 1:
        return numbers[0] * 60
    hours, minutes, rest = numbers if len(numbers) == 3 else [0, *numbers]
    return hours * 3600 + minutes * 60 + rest


def fitted(slurm: Slurm, configs: Sequence[Config]) -> Slurm:
    """The settings for these jobs: GPUs as many as a job takes, where nothing is said.

    Raises:
        InputError: a job wants other nodes, or more GPUs, than are asked for.
    """
    for config in configs:
        nodes = int(config["trainer"].get("num_nodes", 1))
        if nodes != slurm.nodes:
            raise _bad("nodes", f"{nodes} as trainer.num_nodes says (one number for all jobs)", slurm.nodes)
    needed = max((_gpus(config) for config in configs), default=0)
    if slurm.gpus is None:
        return Slurm(**{**asdict(slurm), "gpus": needed})
    if 0 < int(str(slurm.gpus).rpartition(":")[2]) < needed:
        raise _bad("gpus", f"at least {needed} per node as trainer.devices says", slurm.gpus)
    return slurm


def _gpus(config: Config) -> int:
    trainer = config["trainer"]
    devices = trainer.get("devices", "auto")
    return 0 if trainer.get("accelerator") == "cpu" else 1 if devices == "auto" else int(devices)


def tasks(folders: Sequence[Path], per_task: int) -> list[tuple[Path, ...]]:
    """Which folders each task runs."""
    return [tuple(folders[at : at + per_task]) for at in range(0, len(folders), per_task)]


def arrays(count: int, *, largest: int, parallel: int | None = None) -> list[Array]:
    """So many tasks as arrays, none larger than Slurm takes; those at a time are shared out among them.

    Raises:
        InputError: fewer at a time than there are arrays.
    """
    starts = range(0, count, largest)
    if parallel is not None and parallel < len(starts):
        raise _bad("parallel", f"at least {len(starts)}, one for each array of {largest} tasks", parallel)
    return [
        Array(first, min(largest, count - first), _share(parallel, number, len(starts)))
        for number, first in enumerate(starts)
    ]


def _share(parallel: int | None, number: int, of: int) -> int | None:
    return None if parallel is None else (parallel + of - 1 - number) // of


def array_option(array: Array) -> str:
    """The option of sbatch that makes the array."""
    limit = f"%{array.parallel}" if array.parallel else ""
    return f"--array=0-{array.count - 1}{limit}"
