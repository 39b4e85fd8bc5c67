"""Submitting to Slurm and following what was submitted: what `run -m`, `status`, `cancel` and `retry` share."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from advarch.cli.compose import PlannedJob
from advarch.cli.run import ready, write
from advarch.errors import InputError
from advarch.launch import queue
from advarch.launch import submission as submissions
from advarch.launch.queue import Queued
from advarch.launch.script import script
from advarch.launch.signals import INTERRUPTED
from advarch.launch.slurm import Slurm, array_option, arrays, fitted, tasks
from advarch.launch.submission import FILE, FOLDER, Standing, places, standing
from advarch.runs.folder import RunFolder
from advarch.runs.trust import own


def submit(jobs: Sequence[PlannedJob], slurm: Slurm, said: str) -> Path:
    """Submit the jobs that are not in the queue or at work already, and say what and where.

    Args:
        jobs: not done, of one sweep.
        slurm: the settings.
        said: what there is to say of jobs that are done.

    Returns:
        The folder of the sweep.

    Raises:
        InputError: jobs that don't fit the settings, or Slurm refuses.
    """
    parents = {job.folder.path.parent for job in jobs}
    if len(parents) > 1:
        raise InputError(
            f"sweep.name: expected one for all jobs, came {', '.join(sorted(p.name for p in parents))}"
        )
    (sweep,) = parents
    slurm = fitted(slurm, [job.config for job in jobs])
    if slurm.dry_run:
        _rehearse(sweep, [job.folder.path for job in jobs], slurm, said)
        return sweep
    with submissions.turn(sweep):
        free, waiting = _free(sweep, jobs)
        print(f"{said}, {waiting} queued or running already, {len(free)} to submit", flush=True)
        if not free:
            return sweep
        packed = tasks([job.folder.path for job in free], slurm.jobs_per_task)
        cut = arrays(len(packed), largest=queue.largest_array(), parallel=slurm.parallel)
        for job in free:
            ready(job, here=False)
        for job in free:
            write(job)
        folder = submissions.submit(
            sweep, slurm, packed, cut, lambda folder: _script(sweep, folder, slurm), trust=own()
        )
    for array in submissions.submitted(sweep)[-1][1].arrays:
        at_a_time = f", {array.parallel} at a time" if array.parallel else ""
        print(f"submitted array {array.job}: {array.count} tasks{at_a_time}")
    print(
        f"script: {os.path.relpath(folder / 'submit.sh')}; follow them: advarch status {os.path.relpath(sweep)}"
    )
    return sweep


def _free(sweep: Path, jobs: Sequence[PlannedJob]) -> tuple[list[PlannedJob], int]:
    """The jobs to submit, and how many are on their way already. Looked at anew: another submission may have been first."""
    known = places(sweep, queue.queued())
    free, waiting = [], 0
    for job in jobs:
        place = known.get(job.folder.path.name)
        state = standing(job.folder, job.config, place).state
        if state == "running" or (place is not None and place.queued is not None and state != "done"):
            waiting += 1
        elif state != "done":
            free.append(job)
    return free, waiting


def _rehearse(sweep: Path, folders: Sequence[Path], slurm: Slurm, said: str) -> None:
    """Print what would be submitted; Slurm need not be there."""
    try:
        largest = queue.largest_array()
    except InputError:
        largest = queue.LARGEST
    packed = tasks(folders, slurm.jobs_per_task)
    folder = sweep.absolute() / FOLDER / "N"
    print(_script(sweep, folder, slurm), end="")
    print(f"\n{said}, {len(folders)} to submit")
    for array in arrays(len(packed), largest=largest, parallel=slurm.parallel):
        print(f"sbatch {array_option(array)} {os.path.relpath(folder / 'submit.sh')} {array.first}")


def _script(sweep: Path, folder: Path, slurm: Slurm) -> str:
    return script(slurm, name=sweep.name, folder=folder, cwd=Path.cwd(), python=sys.executable, trust=own())


def sweeps(root: Path) -> list[Path]:
    """The folders under a folder, itself included, from which something was submitted."""
    return sorted({path.parents[2] for path in root.rglob(f"{FOLDER}/*/{FILE}")})


def live(root: Path) -> Mapping[str, Queued] | None:
    """What is in the queue, if anything under this folder was ever submitted; None, and a warning, if Slurm can't be asked."""
    if not sweeps(root):
        return {}
    try:
        return queue.queued()
    except InputError as error:
        print(f"advarch: warning: {error}; the states are those of the run folders alone", file=sys.stderr)
        return None


def wait(sweep: Path, folders: Sequence[RunFolder]) -> None:
    """Stay until none of these runs is in the queue.

    Raises:
        SystemExit: 1 when one failed, 79 when one was stopped.
    """
    from advarch.cli.status import watch

    watch(sweep, names={folder.path.name for folder in folders})
    known = places(sweep, queue.queued())
    ended = [standing(folder, folder.config(), known.get(folder.path.name)) for folder in folders]
    failed, stopped = _count(ended, "failed"), _count(ended, "interrupted") + _count(ended, "missing")
    print(f"{len(ended) - failed - stopped} done, {failed} failed, {stopped} stopped")
    if failed or stopped:
        raise SystemExit(1 if failed else INTERRUPTED)


def _count(ended: Sequence[Standing], state: str) -> int:
    return sum(each.state == state for each in ended)
