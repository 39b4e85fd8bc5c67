"""What a sweep's folder knows of its submissions, and where each run stands: its status.json says, never Slurm's own verdict.

outputs/demo/slurm/1/submit.sh        the script        tasks.txt   the folders of each task
                     submission.json  settings, arrays  12_0.log    what Slurm and the script said, a file per task
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from advarch import records
from advarch.files import write_atomic
from advarch.launch import queue
from advarch.launch.queue import Queued
from advarch.launch.slurm import Array, Slurm, array_option
from advarch.runs.folder import RunFolder
from advarch.runs.lock import Busy, FolderLock

FOLDER = "slurm"
FILE = "submission.json"

TURN_SECONDS = 0.2


@dataclass(frozen=True)
class Submission:
    """submission.json: what was asked of Slurm, the names of the run folders of each task, and the packages that were trusted.

    `trust` only reminds: a file in a folder may be a stranger's, and what is trusted is typed.
    """

    settings: dict[str, Any]
    tasks: tuple[tuple[str, ...], ...]
    arrays: tuple[Array, ...] = ()
    trust: tuple[str, ...] = ()
    schema: int = records.SCHEMA

    def task_names(self) -> dict[str, tuple[str, ...]]:
        """Slurm's name of each task that was submitted (12_3) -> its run folders."""
        return {
            f"{array.job}_{number}": self.tasks[array.first + number]
            for array in self.arrays
            for number in range(array.count)
        }


@dataclass(frozen=True)
class Place:
    """Where in Slurm a run was put last: the folder of the submission, the task's name, and what the queue says of it."""

    folder: Path
    task: str
    queued: Queued | None


@dataclass(frozen=True)
class Standing:
    """A run's state as a person means it: those of status.json, or queued, or starting; why; how often queued again."""

    state: str
    note: str = ""
    requeued: int = 0


def submitted(sweep: Path) -> list[tuple[Path, Submission]]:
    """The submissions of a sweep, oldest first.

    Raises:
        InputError: the file of one is damaged.
    """
    read = ((folder, records.read(Submission, folder / FILE)) for folder in _numbered(sweep))
    return [(folder, submission) for folder, submission in read if submission]


def _numbered(sweep: Path) -> list[Path]:
    """The folders of the submissions, oldest first."""
    found = (path for path in (sweep / FOLDER).glob("*/") if path.name.isdigit())
    return sorted(found, key=lambda path: int(path.name))


def places(sweep: Path, live: Mapping[str, Queued]) -> dict[str, Place]:
    """Run folder's name -> where it was put last; a task that is still in the queue counts before later ones that are not."""
    found: dict[str, Place] = {}
    for folder, submission in submitted(sweep):
        for task, names in submission.task_names().items():
            for name in names:
                before = found.get(name)
                if before is None or before.queued is None or task in live:
                    found[name] = Place(folder, task, live.get(task))
    return found


def standing(folder: RunFolder, config: Mapping[str, Any], place: Place | None) -> Standing:
    """Where a run stands.

    A run that began and that nobody works at any more ended without a word; so did one whose task began.
    """
    state, error = folder.state(dict(config))
    live = place.queued if place else None
    requeued = max(live.restarts if live else 0, _restarts(folder))
    if state in ("done", "running"):
        return Standing(state, error, requeued)
    if live is not None and live.waits:
        return Standing("queued", live.reason, requeued)
    if live is not None:
        return Standing("starting" if state == "missing" else state, error, requeued)
    if state == "failed" or place is None:
        return Standing(state, error, requeued)
    stages = folder.status().stages.values()
    log = place.folder / f"{place.task}.log"
    begun = state == "missing" and log.exists()
    if begun or any(stage.state == "running" for stage in stages):
        return Standing(
            "failed", _last_word(folder.path / "job.log") or f"ended without a word; see {log}", requeued
        )
    why = next((stage.error for stage in stages if stage.state == "interrupted"), "")
    return Standing(state, _last_word(folder.path / "job.log") or why, requeued)


def _restarts(folder: RunFolder) -> int:
    """How often the task had been queued again when the last attempt began."""
    try:
        attempts = json.loads((folder.path / "provenance.json").read_text())["attempts"]
        return int((attempts[-1].get("slurm") or {}).get("restarts", 0))
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return 0


def _last_word(log: Path) -> str:
    """The last line of a job's output, if it is one of advarch's own."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said.removeprefix("advarch: ").removeprefix("error: ") if said.startswith("advarch: ") else ""


@contextmanager
def turn(sweep: Path) -> Iterator[None]:
    """Look at what is to be done and submit it as one act: a second submission waits, and finds it done."""
    while True:
        try:
            with FolderLock(sweep / FOLDER):
                yield
                return
        except Busy:
            time.sleep(TURN_SECONDS)


def submit(
    sweep: Path,
    slurm: Slurm,
    tasks: Sequence[Sequence[Path]],
    arrays: Sequence[Array],
    script: Any,
    trust: Sequence[str] = (),
) -> Path:
    """Write a submission's files and submit its arrays; only within `turn`.

    Args:
        sweep: the folder that holds the runs.
        slurm: the settings, kept for `advarch retry`.
        tasks: the run folders of each task.
        arrays: how the tasks are cut up.
        script: the submission's folder -> the text of submit.sh.
        trust: packages that the script trusts, so that `advarch retry` can ask for them.

    Raises:
        InputError: Slurm refuses; what it took before stays submitted, and is known.
    """
    numbers = [int(folder.name) for folder in _numbered(sweep)]
    folder = sweep.absolute() / FOLDER / str(max(numbers, default=0) + 1)
    folder.mkdir(parents=True)
    lines = ["\t".join(str(path.absolute()) for path in task) for task in tasks]
    write_atomic(folder / "tasks.txt", "\n".join(lines) + "\n")
    write_atomic(folder / "submit.sh", script(folder))
    names = tuple(tuple(path.name for path in task) for task in tasks)
    kept = Submission(asdict(slurm), names, trust=tuple(trust))
    for array in arrays:
        job = queue.submit([array_option(array), str(folder / "submit.sh"), str(array.first)])
        kept = replace(kept, arrays=(*kept.arrays, replace(array, job=job)))
        write_atomic(folder / FILE, records.dump(kept))
    return folder
