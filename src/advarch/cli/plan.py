"""The verb `plan`: what would run, how large it is, what it would cost, what is done already."""

import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.display import STATE_STYLE, YEAR, duration, shared_beginning
from advarch.cli.sizes import backbone_digest, candidate_digest, sizes_of, supernet_digest
from advarch.errors import InputError
from advarch.launch import cost, search_cost
from advarch.launch.memory import training_memory
from advarch.launch.speed import GPUS, Speed, measured_speeds, speed_of
from advarch.records import Size, State
from advarch.runs.papers import rows_of
from advarch.runs.trust import only_trusted

UNCHECKED = r"([+~]*(backbone([.@].*)?|dataset|method|sweep|scale|seed|stages|outputs|evaluation|search|logger)=)|-m$|--multirun$"
"""Arguments that need no check beyond composing, which imports torch: choices, and networks, which are counted anyway."""

LEAST = ("training MACs", "memory", "MACs", "parameters")
"""Columns that a narrow terminal has no room for, the first to go first."""

BETWEEN = 2
"""Characters between two columns."""


def plan(arguments: Sequence[str]) -> int:
    """Print the jobs of a sweep, or the one job of no sweep. `sizes=false` lists them without importing torch, and so without
    a look at values that only their objects know; `gpu=h100` estimates hours on one of those.

    Raises:
        InputError: bad input.
    """
    began = time.perf_counter()
    with_sizes, rest = _option(arguments, "sizes", ("true", "false"))
    gpu, rest = _option(rest, "gpu", tuple(GPUS))
    unchecked = with_sizes == "false" or all(re.match(UNCHECKED, argument) for argument in rest)
    jobs = planned_jobs(rest, check=not unchecked)
    for job in jobs:
        only_trusted(job.config)
    sizes = {} if with_sizes == "false" else sizes_of(jobs)
    standings = [job.folder.state(job.config) for job in jobs]
    states = [state for state, _ in standings]
    screen = _screen()
    say = partial(screen.print, highlight=False, markup=False)
    _show(_rows(jobs, states, sizes), screen)
    for number, (state, error) in enumerate(standings, 1):
        if error:
            say(f"{number} {state}: {error}")
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATE_STYLE if state in states)
    say(f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}: {counts}")
    if sizes:
        measured = measured_speeds([job.folder for job in jobs], jobs[0].folder.path.parent)
        search = _search_lines(jobs, sizes, lambda job: speed_of(job.config, measured, gpu, separable=True))
        speeds = [speed_of(job.config, measured, gpu, separable=_of_cells(job)) for job in jobs]
        for line in [*search, _cost_line(jobs, states, sizes, speeds), *_printed_lines(jobs)]:
            say(line)
    elif gpu:
        say(f"gpu={gpu}: no estimate, for with sizes=false no network is counted; leave sizes=false out")
    print(f"planned in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    return 0


def _option(arguments: Sequence[str], name: str, known: Sequence[str]) -> tuple[str | None, list[str]]:
    """The last value of an option of plan's own, and the arguments without it."""
    given = [a for a in arguments if a.startswith(f"{name}=")]
    if not given:
        return None, list(arguments)
    value = given[-1].partition("=")[2].lower()
    if value not in known:
        raise InputError(f"{name}: expected {' or '.join(known)}, came {value!r}")
    return value, [a for a in arguments if a not in given]


def _rows(
    jobs: Sequence[PlannedJob], states: Sequence[State], sizes: dict[str, Size]
) -> list[dict[str, str]]:
    """The cells of each job by their heading."""
    names = [job.folder.path.name for job in jobs]
    shared = len(shared_beginning(names))
    rows = []
    for number, (job, name, state) in enumerate(zip(jobs, names, states, strict=True), 1):
        row = {"#": str(number), "job": name[shared:].lstrip("-")}
        if sizes:
            row |= _size_cells(job, sizes.get(backbone_digest(job)))
        rows.append(row | {"state": state})
    return rows


def _size_cells(job: PlannedJob, size: Size | None) -> dict[str, str]:
    if size is None:
        return dict.fromkeys(reversed(LEAST), "unknown")
    work, held = cost.training_macs(job.config, size), training_memory(job.config, size)
    return {
        "parameters": f"{size.parameters:,}",
        "MACs": f"{size.macs:,}",
        "memory": f"{held / 2**30:.2f} GiB" if held else "unknown",
        "training MACs": f"{work:.3g}" if work else "unknown",
    }


def _screen() -> Console:
    """The terminal; what goes into a file or a pipe has all the room that it needs."""
    screen = Console()
    return screen if screen.is_terminal or "COLUMNS" in os.environ else Console(width=10_000)


def _show(rows: Sequence[dict[str, str]], screen: Console) -> None:
    """Print as many columns as there is room for beside whole names; a name longer than that is broken at its hyphens."""
    widths = {heading: max(len(heading), *(len(row[heading]) for row in rows)) for heading in rows[0]}
    absent: list[str] = []

    def needed() -> int:
        kept = [width for heading, width in widths.items() if heading not in absent]
        return sum(kept) + BETWEEN * (len(kept) - 1)

    for heading in LEAST:
        if heading in widths and needed() > screen.width:
            absent.insert(0, heading)
    room = max(widths["job"] - max(0, needed() - screen.width), 1)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in widths:
        if heading not in absent:
            left = heading in ("job", "state")
            table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "job")
    for row in rows:
        cells: dict[str, str | Text] = {key: cell for key, cell in row.items() if key not in absent}
        cells["job"] = _broken(row["job"], room)
        cells["state"] = Text(row["state"], STATE_STYLE[row["state"]])
        table.add_row(*cells.values())
    screen.print(table)
    if absent:
        screen.print(
            f"no room for {', '.join(absent)}: make the terminal wider, or add | less -S", highlight=False
        )


def _broken(name: str, room: int) -> str:
    """The name in lines of that many characters, broken at its hyphens."""
    if len(name) <= room:
        return name
    return textwrap.fill(name.replace("-", "- "), room).replace("- ", "-")


def _cost_line(
    jobs: Sequence[PlannedJob], states: Sequence[State], sizes: dict[str, Size], speeds: Sequence[Speed]
) -> str:
    """Time left for training, at the measured speed or at a stated assumption."""
    left = [(job, speed) for job, state, speed in zip(jobs, states, speeds, strict=True) if state != "done"]
    if not left:
        return "nothing left to run"
    seconds, unknown = 0.0, 0
    for job, speed in left:
        size = sizes.get(backbone_digest(job))
        work = cost.training_macs(job.config, size) if size is not None else None
        if work is None:
            unknown += 1
        else:
            seconds += work / speed.macs
    if unknown == len(left):
        return (
            "training left: no estimate; the number of images, the network's size or the defense's passes are "
            f"not known for {'the job' if unknown == 1 else f'any of {unknown} jobs'}"
        )
    missing = f"; no estimate for {unknown} of {len(left)} jobs" if unknown else ""
    return f"training left: {_time(seconds, left[0][1])}{missing}; evaluations are not counted"


def _of_cells(job: PlannedJob) -> bool:
    return "genotype" in job.config["backbone"]


def _time(seconds: float, speed: Speed) -> str:
    """About 12 s of one worker (...), about 2,600 GPU-hours (...)."""
    if speed.device == "cpu":
        hint = "; gpu=NAME estimates it on a GPU" if seconds >= 2 * YEAR else ""
        return f"about {duration(seconds)} of one worker ({speed.source}){hint}"
    hours = seconds / 3600
    return f"about {f'{hours:,.0f}' if hours >= 10 else f'{hours:.2g}'} GPU-hours ({speed.source})"


def _search_lines(
    jobs: Sequence[PlannedJob], sizes: dict[str, Size], speed_of_cells: Callable[[PlannedJob], Speed]
) -> list[str]:
    """For each supernet and each trial of cells how large they are and how long they take, from their multiply-adds."""
    lines = {}
    for job in jobs:
        speed = speed_of_cells(job)
        name = f"search={job.config['search']['name']}"
        key = supernet_digest(job)
        if key is not None and (size := sizes.get(key)) is not None:
            what = f"{name}: supernet of {size.parameters:,} parameters, {size.macs:,} MACs"
            attacked = bool(job.config["search"].get("validation_attack"))
            lines[key] = what + _work(search_cost.search_macs(job.config, size), speed, attacked=attacked)
        key = candidate_digest(job)
        if key is not None and (size := sizes.get(key)) is not None:
            count = search_cost.tried(job.config)
            what = f"{name}: {count} cells on trial, one of them {size.parameters:,} parameters, {size.macs:,} MACs"
            macs = search_cost.candidates_macs(job.config, size)
            lines[f"{key}{count}"] = what + _work(macs, speed, attacked=True)
    return list(lines.values())


def _work(macs: float | None, speed: Speed, *, attacked: bool) -> str:
    if macs is None:
        return "; no estimate of how long it takes"
    trained = f"{macs:.3g} MACs in all, {_time(macs / speed.macs, speed)}" if macs else "none is trained"
    return f"; {trained}{'; attacks on validation images are not counted' if attacked else ''}"


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
