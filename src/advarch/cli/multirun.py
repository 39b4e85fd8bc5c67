"""The verb `run -m`: resolve every job now, skip the finished ones, hand the rest to an engine."""

import sys
from collections.abc import Iterable, Sequence

from omegaconf import DictConfig

from advarch.cli.checks import sweep_shows
from advarch.cli.compose import PlannedJob, planned
from advarch.cli.display import CrewDisplay, duration
from advarch.cli.ranks import processes_here
from advarch.cli.run import write
from advarch.launch import local
from advarch.launch.signals import INTERRUPTED
from advarch.launch.slurm import Slurm
from advarch.runs.trust import own


def launch_here(configs: Iterable[DictConfig], labels: Sequence[str], *, workers: int | None) -> None:
    """Run all jobs on this machine.

    Raises:
        InputError: some job's config is bad; then none is started.
        SystemExit: after the last job, with 1 when one failed, with 79 when one was told to stop.
        Interrupted: this process was told to stop.
    """
    todo, said = _todo(configs, labels)
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


def launch_slurm(configs: Iterable[DictConfig], labels: Sequence[str], slurm: Slurm) -> None:
    """Submit all jobs that nobody has submitted, and return; with `wait` stay until they have ended.

    Raises:
        InputError: some job's config is bad, and then none is submitted; or Slurm refuses.
        SystemExit: with `wait`, as `launch_here` does.
    """
    from advarch.cli.slurm import submit, wait

    todo, said = _todo(configs, labels)
    if not todo:
        print(said)
        return
    sweep = submit(todo, slurm, said)
    if slurm.wait and not slurm.dry_run:
        wait(sweep, [job.folder for job in todo])


def _todo(configs: Iterable[DictConfig], labels: Sequence[str]) -> tuple[list[PlannedJob], str]:
    """The jobs that are not done, checked; and a sentence about how many there are."""
    # What is done already needs no check, and without one nothing imports torch.
    jobs = {}
    for config, label in zip(configs, labels, strict=True):
        job = planned(config, check=False, label=label)
        done = job.folder.state(job.config)[0] == "done"
        jobs[job.folder.path] = (job if done else planned(config, check=True, label=label), done)
    sweep_shows([job.config for job, _ in jobs.values()])
    todo = [job for job, done in jobs.values() if not done]
    doubles = f", {len(labels) - len(jobs)} equal to another" if len(jobs) < len(labels) else ""
    return todo, f"{len(jobs)} jobs: {len(jobs) - len(todo)} done already{doubles}"
