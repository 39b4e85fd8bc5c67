"""The verb `run -m`: resolve every job now, skip the finished ones, hand the rest to an engine."""

import sys
from collections.abc import Iterable, Sequence

from omegaconf import DictConfig

from advarch.cli.compose import planned
from advarch.cli.display import CrewDisplay, duration
from advarch.cli.run import write
from advarch.launch import local
from advarch.launch.signals import INTERRUPTED
from advarch.runs.config import Config
from advarch.runs.trust import own


def launch_here(configs: Iterable[DictConfig], labels: Sequence[str], *, workers: int | None) -> None:
    """Run all jobs on this machine.

    Raises:
        InputError: some job's config is bad; then none is started.
        SystemExit: after the last job, with 1 when one failed, with 79 when one was told to stop.
        Interrupted: this process was told to stop.
    """
    # What is done already needs no check, and without one nothing imports torch.
    jobs = {}
    for config, label in zip(configs, labels, strict=True):
        job = planned(config, check=False, label=label)
        done = job.folder.state(job.config)[0] == "done"
        jobs[job.folder.path] = (job if done else planned(config, check=True, label=label), done)
    todo = [job for job, done in jobs.values() if not done]
    for job in todo:
        write(job)
    doubles = f", {len(labels) - len(jobs)} equal to another" if len(jobs) < len(labels) else ""
    print(f"{len(jobs)} jobs: {len(jobs) - len(todo)} done already{doubles}, {len(todo)} to run", flush=True)
    if not todo:
        return
    with CrewDisplay() as display:
        crew = local.run(
            [job.folder.path for job in todo],
            workers=workers,
            show=display.show,
            trust=own(),
            processes=[_processes(job.config) for job in todo],
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


def _processes(config: Config) -> int:
    """Processes of a job on this machine; with `devices: auto` one, on the one GPU that a job of many is given."""
    devices = config["trainer"].get("devices", "auto")
    return 1 if devices == "auto" else int(devices)
