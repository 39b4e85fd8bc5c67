"""The verb `plan`: what would run, how large it is, what it would cost, what is done already."""

import re
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.display import STATE_STYLE, duration, shared_beginning
from advarch.cli.sizes import backbone_digest, sizes_of, supernet_digest
from advarch.errors import InputError
from advarch.launch import cost
from advarch.launch.memory import training_memory
from advarch.records import Size
from advarch.runs.papers import rows_of

UNCHECKED = r"([+~]*(backbone([.@].*)?|dataset|method|sweep|scale|seed|stages|outputs|evaluation|search|logger)=)|-m$|--multirun$"
"""Arguments that need no check beyond composing, which imports torch: choices, and networks, which are counted anyway."""


def plan(arguments: Sequence[str]) -> int:
    """Print the jobs of a sweep, or the one job of no sweep. `sizes=false` lists them without importing torch.

    Raises:
        InputError: bad input.
    """
    began = time.perf_counter()
    with_sizes, rest = _option(arguments, "sizes")
    jobs = planned_jobs(rest, check=not all(re.match(UNCHECKED, argument) for argument in rest))
    sizes = sizes_of(jobs) if with_sizes else {}
    Console().print(_table(jobs, sizes))
    states = [job.folder.state(job.config)[0] for job in jobs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATE_STYLE if state in states)
    print(f"{len(jobs)} jobs: {counts}")
    if sizes:
        for line in _search_lines(jobs, sizes):
            print(line)
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
        size = sizes.get(backbone_digest(job))
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
        size = sizes.get(backbone_digest(job))
        work = cost.training_macs(job.config, size) if size is not None else None
        if work is None:
            unknown += 1
        else:
            seconds += work / (speed or _assumed(job))
    source = _source(speed, _assumed(todo[0]))
    missing = f"; {unknown} jobs without an estimate" if unknown else ""
    return f"training left: about {duration(seconds)} of one worker ({source}){missing}"


def _assumed(job: PlannedJob) -> float:
    on_gpu = job.config["trainer"].get("accelerator") == "gpu"
    return cost.ASSUMED_GPU_SPEED if on_gpu else cost.ASSUMED_SPEED


def _source(speed: float | None, assumed: float) -> str:
    if speed:
        return f"at {speed / 1e9:,.1f} G multiply-adds/s, measured in finished runs here"
    return f"assuming {assumed / 1e9:,g} G multiply-adds/s, nothing is measured here yet"


def _search_lines(jobs: Sequence[PlannedJob], sizes: dict[str, Size]) -> list[str]:
    """For each supernet how large it is and how long its search takes, from its multiply-adds."""
    speed = cost.measured_speed([job.folder for job in jobs], jobs[0].folder.path.parent)
    lines = {}
    for job in jobs:
        key = supernet_digest(job)
        size = sizes.get(key) if key else None
        if key is None or size is None:
            continue
        unit = "GPU" if _assumed(job) == cost.ASSUMED_GPU_SPEED else "worker"
        said = f"search={job.config['search']['name']}: supernet of {size.parameters:,} parameters, {size.macs:,} MACs"
        work = cost.search_macs(job.config, size)
        if work is not None:
            hours = work / (speed or _assumed(job)) / 3600
            said += (
                f"; {work:.3g} MACs in all, about {hours:.2g} {unit}-hours ({_source(speed, _assumed(job))})"
            )
        lines[key] = said
    return list(lines.values())


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
