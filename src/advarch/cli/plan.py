"""The verb `plan`: what would run, how large it is, what it would cost, what is done already."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advarch import records
from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.display import STATE_STYLE, duration, shared_beginning
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.launch import cost
from advarch.launch.memory import training_memory
from advarch.launch.sizes import by_formula
from advarch.records import Size
from advarch.runs.config import digest
from advarch.runs.papers import rows_of


def plan(arguments: Sequence[str]) -> int:
    """Print the jobs of a sweep, or the one job of no sweep. `sizes=false` lists them without importing torch.

    Raises:
        InputError: bad input.
    """
    began = time.perf_counter()
    with_sizes, rest = _option(arguments, "sizes")
    jobs = planned_jobs(rest)
    sizes = _sizes(jobs) if with_sizes else {}
    Console().print(_table(jobs, sizes))
    states = [job.folder.state(job.config)[0] for job in jobs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATE_STYLE if state in states)
    print(f"{len(jobs)} jobs: {counts}")
    if sizes:
        print(_cost_line(jobs, sizes))
        for line in _printed_lines(jobs):
            print(line)
    print(f"planned in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    return 0


def _option(arguments: Sequence[str], name: str) -> tuple[bool, list[str]]:
    given = [a for a in arguments if a.startswith(f"{name}=")]
    value = given[-1].partition("=")[2].lower() if given else "true"
    if value not in ("true", "false"):
        raise InputError(f"{name}: expected true or false, came {value!r}")
    return value == "true", [a for a in arguments if a not in given]


def _table(jobs: Sequence[PlannedJob], sizes: dict[str, Size]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("job", overflow="fold")
    for heading in ("parameters", "MACs", "memory", "training MACs"):
        if sizes:
            table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state")
    table.add_column("")
    names = [job.folder.path.name for job in jobs]
    shared = shared_beginning(names)
    for number, job in enumerate(jobs, 1):
        state, error = job.folder.state(job.config)
        size = sizes.get(_backbone_digest(job))
        cells = [str(number), job.folder.path.name[len(shared) :].lstrip("-")]
        if size is not None:
            work, held = cost.training_macs(job.config, size), training_memory(job.config, size)
            cells += [f"{size.parameters:,}", f"{size.macs:,}"]
            cells += [f"{held / 2**30:.2f} GiB" if held else "unknown", f"{work:.3g}" if work else "unknown"]
        elif sizes:
            cells += ["unknown"] * 4
        table.add_row(*cells, Text(state, STATE_STYLE[state]), Text(error))
    return table


def _cost_line(jobs: Sequence[PlannedJob], sizes: dict[str, Size]) -> str:
    """Seconds left, from the speed measured in finished runs of the same outputs folder, else from a stated assumption."""
    todo = [job for job in jobs if job.folder.state(job.config)[0] != "done"]
    if not todo:
        return "nothing left to run"
    speed = cost.measured_speed([job.folder for job in jobs], jobs[0].folder.path.parent)
    seconds, unknown = 0.0, 0
    for job in todo:
        size = sizes.get(_backbone_digest(job))
        work = cost.training_macs(job.config, size) if size is not None else None
        if work is None:
            unknown += 1
        else:
            seconds += work / (speed or cost.ASSUMED_SPEED)
    source = (
        f"at {speed / 1e9:,.1f} G multiply-adds/s, measured in finished runs here"
        if speed
        else f"assuming {cost.ASSUMED_SPEED / 1e9:g} G multiply-adds/s, nothing is measured here yet"
    )
    missing = f"; {unknown} jobs without an estimate" if unknown else ""
    return f"training left: about {duration(seconds)} of one worker ({source}){missing}"


def _printed_lines(jobs: Sequence[PlannedJob]) -> list[str]:
    """What the papers print of the jobs' networks, each once, and at how many classes and on which images it is so."""
    found = {row: None for job in jobs for row in rows_of(job.config)}
    lines = []
    for row in found:
        shape = "x".join(map(str, row.image))
        exact = (
            f"{row.size.parameters:,} parameters and {row.size.macs:,} MACs at {row.classes} classes, {shape}"
        )
        printed = f"; printed {row.printed} ({row.source})" if row.printed else f" ({row.source})"
        reason = f"; {row.reason}" if row.reason else ""
        lines.append(f"{' '.join([row.network, row.overrides]).strip()}: {exact}{printed}{reason}")
    return lines


def _backbone_digest(job: PlannedJob) -> str:
    dataset = job.config["dataset"]
    normalised = dataset.get("mean") is not None
    return digest([job.config["backbone"], _declared(dataset), normalised])


def _sizes(jobs: Sequence[PlannedJob]) -> dict[str, Size]:
    """Size of each different network: of the papers' from their table, of others by formula or from the cache beside the runs.

    Only what has none is counted, which imports torch.
    """
    if not jobs:
        return {}
    path = Path(jobs[0].config["outputs"]) / ".sizes.json"
    cached: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    sizes = {key: records.load(Size, json.dumps(value)) for key, value in cached.items()}
    sizes = {key: size for key, size in sizes.items() if size.activations is not None}
    tabled = {_backbone_digest(job): size for job in jobs if (size := _tabled(job)) is not None}
    missing = {key: job for job in jobs if (key := _backbone_digest(job)) not in tabled and key not in sizes}
    for key, job in missing.items():
        counted = _count(job)
        if counted is not None:
            sizes[key] = counted
    if missing:
        text = json.dumps({key: json.loads(records.dump(size)) for key, size in sizes.items()}, indent=1)
        write_atomic(path, text + "\n")
    return sizes | tabled


def _tabled(job: PlannedJob) -> Size | None:
    asked = _declared(job.config["dataset"])
    tabled = next((row.size for row in rows_of(job.config) if (row.classes, row.image) == asked), None)
    return tabled or by_formula(job.config["backbone"], *asked)


def _count(job: PlannedJob) -> Size | None:
    """Count on the meta device. None when the dataset says neither classes nor shape until its files are read."""
    from advarch.runs.binding import bind
    from advarch.runs.build import size_of

    classes, shape = _declared(job.config["dataset"])
    config = {**job.config, **bind({"backbone": job.config["backbone"]})}
    return None if classes is None or shape is None else size_of(config, classes=classes, image_shape=shape)


def _declared(dataset: dict[str, Any]) -> tuple[int | None, tuple[int, int, int] | None]:
    """Number of classes and the images' shape, as far as the config says them."""
    shape, side = dataset.get("image_shape"), dataset.get("image_size")
    if shape is None:
        return dataset.get("classes"), None
    channels, height, width = shape
    return dataset.get("classes"), (channels, side or height, side or width)
