"""The verb `plan`: what would run, how large it is, what it would cost, what is done already."""

import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from advarch.cli.compose import PlannedJob, planned_jobs
from advarch.cli.display import STATE_STYLE, YEAR, duration
from advarch.cli.plan_table import make_screen, rows_of_jobs, show
from advarch.cli.sizes import backbone_digest, candidate_digest, sizes_of, supernet_digest
from advarch.errors import InputError
from advarch.launch import cost, search_cost
from advarch.launch.speed import GPUS, Speed, measured_speeds, speed_of
from advarch.records import Size
from advarch.runs.papers import rows_of
from advarch.runs.trust import only_trusted

UNCHECKED = r"([+~]*(backbone([.@].*)?|dataset|method|sweep|scale|seed|stages|outputs|evaluation|search|logger)=)|-m$|--multirun$"
"""Arguments that need no check beyond composing, which imports torch: choices, and networks, which are counted anyway."""


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
    screen = make_screen()
    say = partial(screen.print, highlight=False, markup=False)
    show(rows_of_jobs(jobs, states, sizes), screen)
    for number, (state, error) in enumerate(standings, 1):
        if error:
            say(f"{number} {state}: {error}")
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATE_STYLE if state in states)
    say(f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}: {counts}")
    if sizes:
        measured = measured_speeds([job.folder for job in jobs], jobs[0].folder.path.parent)
        speed = partial(speed_of, measured=measured, gpu=gpu)
        lines = _search_lines(jobs, sizes, speed)
        # A network in several panels of a figure is one run.
        left = {job.folder.path: job for job, state in zip(jobs, states, strict=True) if state != "done"}
        lines += _left_lines(list(left.values()), sizes, speed)
        for line in [*lines, *_printed_lines(jobs)]:
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


def _left_lines(left: Sequence[PlannedJob], sizes: dict[str, Size], speed: Callable[..., Speed]) -> list[str]:
    """What the searches, where there are several, and the trainings that are left take together."""
    searches = [
        (_search_macs(job, sizes), speed(job.config, separable=_of_cells(job)))
        for job in left
        if _is_to_search(job)
    ]
    trainings = [(_training_macs(job, sizes), speed(job.config, separable=_of_cells(job))) for job in left]
    lines = [_cost_line("searches", searches)] if len(searches) > 1 else []
    return [*lines, _cost_line("training", trainings) if left else "nothing left to run"]


def _cost_line(what: str, left: Sequence[tuple[float | None, Speed]]) -> str:
    """Time left for the trainings, or the searches, of those multiply-adds, at the measured speed or at a stated assumption."""
    known = [work / speed.macs for work, speed in left if work is not None]
    unknown = len(left) - len(known)
    if not known:
        return (
            f"{what} left: no estimate; the number of images, the network's size or the defense's passes are "
            f"not known for {'the job' if unknown == 1 else f'any of {unknown} jobs'}"
        )
    missing = f"; no estimate for {unknown} of {len(left)} jobs" if unknown else ""
    return f"{what} left: {_time(sum(known), left[0][1])}{missing}; evaluations are not counted"


def _training_macs(job: PlannedJob, sizes: dict[str, Size]) -> float | None:
    size = sizes.get(backbone_digest(job))
    return None if size is None else cost.training_macs(job.config, size)


def _is_to_search(job: PlannedJob) -> bool:
    searches = job.config["search"]["name"] != "none" and "search" in job.config["stages"]
    return searches and not job.folder.finished("search", job.config)


def _search_macs(job: PlannedJob, sizes: dict[str, Size]) -> float | None:
    """Multiply-adds of the supernet's training and of the cells on trial; None where one of them is not known."""
    wanted = (
        (supernet_digest(job), search_cost.search_macs),
        (candidate_digest(job), search_cost.candidates_macs),
    )
    parts = [
        macs(job.config, sizes[key]) if key in sizes else None for key, macs in wanted if key is not None
    ]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _of_cells(job: PlannedJob) -> bool:
    """Whether its network is; one with cells beside a backbone is mostly that backbone, and so is its supernet."""
    return "genotype" in job.config["backbone"] and "base" not in job.config["backbone"]


def _time(seconds: float, speed: Speed) -> str:
    """About 12 s of one worker (...), about 2,600 GPU-hours (...)."""
    if speed.device == "cpu":
        hint = "; gpu=NAME estimates it on a GPU" if seconds >= 2 * YEAR else ""
        return f"about {duration(seconds)} of one worker ({speed.source}){hint}"
    hours = seconds / 3600
    return f"about {f'{hours:,.0f}' if hours >= 10 else f'{hours:.2g}'} GPU-hours ({speed.source})"


def _search_lines(
    jobs: Sequence[PlannedJob], sizes: dict[str, Size], speed_of: Callable[..., Speed]
) -> list[str]:
    """For each supernet and each trial of cells how large they are and how long they take, what is equal once."""
    lines = list[str]()
    for job in jobs:
        speed = speed_of(job.config, separable=_of_cells(job))
        name = f"search={job.config['search']['name']}"
        key = supernet_digest(job)
        if key is not None and (size := sizes.get(key)) is not None:
            what = f"{name}: supernet of {size.parameters:,} parameters, {size.macs:,} MACs"
            attacked = bool(job.config["search"].get("validation_attack"))
            lines.append(what + _work(search_cost.search_macs(job.config, size), speed, attacked=attacked))
        key = candidate_digest(job)
        if key is not None and (size := sizes.get(key)) is not None:
            count = search_cost.tried(job.config)
            what = f"{name}: {count} cells on trial, one of them {size.parameters:,} parameters, {size.macs:,} MACs"
            macs = search_cost.candidates_macs(job.config, size)
            lines.append(what + _work(macs, speed, attacked=True))
    return list(dict.fromkeys(lines))


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
