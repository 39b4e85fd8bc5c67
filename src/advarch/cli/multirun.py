"""The verb `run -m`: resolve every job now, skip the finished ones, hand the rest to an engine."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from advarch.cli.checks import sweep_begins, sweep_shows
from advarch.cli.compose import PlannedJob, planned
from advarch.cli.display import CrewDisplay, duration
from advarch.cli.ranks import processes_here
from advarch.cli.run import ready, write
from advarch.launch import grid, local
from advarch.launch.signals import INTERRUPTED
from advarch.launch.slurm import Slurm
from advarch.runs.config import Config
from advarch.runs.trust import own

Overrides = Sequence[Sequence[str]]
"""Of each job, what is typed for it."""


def launch_here(configs: Iterable[Config], overrides: Overrides, *, workers: int | None) -> None:
    """Run all jobs on this machine.

    Raises:
        InputError: some job's config is bad; then none is started.
        SystemExit: after the last job, with 1 when one failed, with 79 when one was told to stop.
        Interrupted: this process was told to stop.
    """
    with local.nursery_ahead(len(overrides), workers) as nursery:
        todo, said = _todo(configs, overrides, begin=nursery)
        for job in todo:
            ready(job, here=True)
        for job in todo:
            write(job)
        print(f"{said}, {len(todo)} to run", flush=True)
        if not todo:
            return
        with CrewDisplay() as display:
            crew = local.run(
                [job.folder.path for job in todo],
                workers=workers,
                show=display.show,
                trust=own(),
                processes=[processes_here(job.config) for job in todo],
                nursery=nursery(),
            )
    failed = [worker for worker in crew.workers if worker.state == "failed"]
    stopped = [worker for worker in crew.workers if worker.state == "interrupted"]
    longest = max(worker.seconds for worker in crew.workers)
    ended = len(crew.workers) - len(failed) - len(stopped)
    said = f", {len(stopped)} stopped (run it again to go on)" if stopped else ""
    print(f"{ended} done, {len(failed)} failed{said}; the longest took {duration(longest)}")
    by_path = {job.folder.path: job for job in todo}
    for worker in failed:
        error = (
            by_path[worker.folder].folder.state(by_path[worker.folder].config)[1]
            or "its process ended without a word"
        )
        print(f"  failed: {worker.folder}: {error} (see job.log there)", file=sys.stderr)
    if failed or stopped:
        raise SystemExit(1 if failed else INTERRUPTED)


def launch_slurm(configs: Iterable[Config], overrides: Overrides, slurm: Slurm) -> None:
    """Submit all jobs that nobody has submitted, and return; with `wait` stay until they have ended.

    Raises:
        InputError: some job's config is bad, and then none is submitted; or Slurm refuses.
        SystemExit: with `wait`, as `launch_here` does.
    """
    from advarch.cli.slurm import submit, wait

    todo, said = _todo(configs, overrides)
    if not todo:
        print(said)
        return
    sweep = submit(todo, slurm, said)
    if slurm.wait and not slurm.dry_run:
        wait(sweep, [job.folder for job in todo])


def _todo(
    configs: Iterable[Config], overrides: Overrides, *, begin: Callable[[], object] = lambda: None
) -> tuple[list[PlannedJob], str]:
    """The jobs that are not done, checked; and a sentence about how many there are. `begin` is called at the first of them."""
    # What is done already needs no check, and without one nothing imports torch.
    jobs: dict[Path, tuple[PlannedJob, bool]] = {}
    for config, label in zip(configs, grid.labels(overrides), strict=True):
        job = planned(config, check=False, label=label)
        if not jobs:
            sweep_begins(job.config, overrides)
        done = job.folder.state(job.config)[0] == "done"
        if not done:
            begin()
        jobs[job.folder.path] = (job if done else planned(config, check=True, label=label), done)
    sweep_shows([job.config for job, _ in jobs.values()])
    todo = [job for job, done in jobs.values() if not done]
    doubles = f", {len(overrides) - len(jobs)} equal to another" if len(jobs) < len(overrides) else ""
    return todo, f"{len(jobs)} jobs: {len(jobs) - len(todo)} done already{doubles}"
