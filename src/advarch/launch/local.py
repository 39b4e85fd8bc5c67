"""Jobs on this machine: worker processes, one process tree per job."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advarch.errors import Interrupted
from advarch.launch.nursery import Forked, Nursery, open_nursery
from advarch.launch.ranks import clean
from advarch.launch.signals import INTERRUPTED, STOPS, StopRequest
from advarch.records import State
from advarch.runs.lock import holder

BUSY = 75
"""Exit code of a job whose folder another process holds (EX_TEMPFAIL)."""

POLL_SECONDS = 0.1

PATIENCE = 40.0
"""Seconds that a job gets to save what it did, once it is told to stop, before it is killed."""

TOLD_TO_STOP = (INTERRUPTED, 130, *(-number for number in STOPS))
"""Exit codes of a job that was stopped from outside, the last ones before it could listen."""


@dataclass
class Worker:
    """One job and its process."""

    folder: Path
    trust: Sequence[str] = ()
    threads: int = 1
    process: subprocess.Popen[bytes] | Forked | None = None
    state: State = "missing"
    began: float = 0.0
    seconds: float = 0.0
    processes: int = 1
    gpus: tuple[str, ...] = ()


@dataclass
class Crew:
    """All jobs of a launch, as the display sees them."""

    workers: list[Worker]
    size: int
    nursery: Nursery | None = None
    began: float = field(default_factory=time.monotonic)
    stopping: bool = False
    stop: StopRequest = field(default_factory=StopRequest)


def command(folder: Path, trust: Sequence[str] = ()) -> list[str]:
    """The one way a job runs; many of one launch are forks of a process that is about to run it (`launch.nursery`)."""
    return [sys.executable, "-m", "advarch.cli.job", str(folder), *(f"--trust={name}" for name in trust)]


@contextlib.contextmanager
def nursery_ahead(jobs: int, workers: int | None) -> Iterator[Callable[[], Nursery | None]]:
    """Begins, when it is called, the nursery of at most so many jobs: it imports while they are checked. None where they need none.

    It ends with the context.
    """
    begun: list[Nursery] = []

    def begin() -> Nursery | None:
        size, threads = _places(jobs, workers, 1)
        if not begun and jobs > size and not gpus():
            begun.append(open_nursery(_environment(threads)))
        return begun[0] if begun else None

    try:
        yield begin
    finally:
        for nursery in begun:
            nursery.end()


def _places(jobs: int, workers: int | None, widest: int) -> tuple[int, int]:
    """How many jobs run at a time, and the threads of each."""
    cores = os.cpu_count() or 1
    size = workers or max(1, (len(gpus()) or min(8, cores)) // widest)
    size = min(size, max(1, jobs))
    return size, max(1, cores // size)


def run(
    folders: Sequence[Path],
    *,
    workers: int | None,
    show: Callable[[Crew], None],
    trust: Sequence[str] = (),
    processes: Sequence[int] | None = None,
    nursery: Nursery | None = None,
) -> Crew:
    """Run all jobs, so many at a time. A job that fails stops nobody else; its output lies in its folder, job.log.

    A job that another launch already works on is waited for. Ctrl-C (or SIGTERM, SIGUSR1) ends all of them, once they have
    saved what they did.

    Args:
        folders: run folders with their config.yaml.
        workers: jobs at a time; None: one per GPU, without a GPU one per core, at most eight; fewer of several processes.
        show: called about ten times a second and whenever a job changes its state.
        trust: packages whose objects a config may name.
        processes: of each job on this machine; None: one.
        nursery: of `nursery_ahead`; None: one is begun where jobs need it.

    Raises:
        Interrupted: this process was told to stop.
    """
    found = gpus()
    needs = list(processes or [1] * len(folders))
    widest = max(needs, default=1)
    size, threads = _places(len(folders), workers, widest)
    # With a place for each job at once there is nothing to gain. A fork of a process that has asked a GPU for anything can't
    # use one, and whether an import asks was not tried on one.
    if len(folders) <= size or found:
        nursery = None
    elif nursery is None or widest > 1:
        nursery = open_nursery(_environment(threads))
    crew = Crew(
        [Worker(folder, trust, threads, processes=need) for folder, need in zip(folders, needs, strict=True)],
        size,
        nursery,
    )
    free = [found[i % len(found)] for i in range(size * widest)] if found else []
    with crew.stop.listening():
        try:
            _work(crew, free, show)
        except BaseException:
            crew.stopping = True
            try:
                show(crew)
            finally:
                _stop([worker for worker in crew.workers if worker.state == "running"])
            raise
        finally:
            if crew.nursery:
                crew.nursery.end()
    return crew


def _work(crew: Crew, free: list[str], show: Callable[[Crew], None]) -> None:
    """Start jobs as places and GPUs come free, until all have ended."""
    waiting, active = deque(crew.workers), list[Worker]()
    while waiting or active:
        while waiting and len(active) < crew.size:
            worker = waiting.popleft()
            worker.gpus = _take(free, worker.processes)
            _start(worker, crew)
            active.append(worker)
            show(crew)
        time.sleep(POLL_SECONDS)
        for worker in [worker for worker in active if _ended(worker, crew)]:
            active.remove(worker)
            free.extend(worker.gpus)
        show(crew)


def _take(free: list[str], count: int) -> tuple[str, ...]:
    """Take so many different GPUs off the list; fewer where there are not so many."""
    taken = tuple(dict.fromkeys(free))[:count]
    for name in taken:
        free.remove(name)
    return taken


def _environment(threads: int) -> dict[str, str]:
    environment = clean(os.environ)
    environment["ADVARCH_WORKER"] = "1"
    said = environment.setdefault("OMP_NUM_THREADS", str(threads))
    # PyTorch believes MKL's number where both are given.
    environment.setdefault("MKL_NUM_THREADS", said)
    return environment


def _start(worker: Worker, crew: Crew) -> None:
    worker.began = time.monotonic()
    worker.state = "running"
    path = worker.folder / "job.log"
    environment = _environment(worker.threads)
    if worker.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(worker.gpus)
    # A signal waits until the process is known: nobody would end it.
    with crew.stop.deferred():
        if crew.nursery and crew.nursery.alive:
            worker.process = crew.nursery.start(worker.folder, trust=worker.trust, log=path)
            return
        with path.open("ab") as log:
            worker.process = subprocess.Popen(
                command(worker.folder, worker.trust),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )


def _ended(worker: Worker, crew: Crew) -> bool:
    if worker.process is None:
        # Another launch has it: start our own process once it lets go, which finds nothing left to do or goes on.
        if holder(worker.folder) is None:
            _start(worker, crew)
        return False
    code = worker.process.poll()
    if code is None:
        return False
    if code == BUSY:
        worker.process = None
        return False
    worker.seconds = time.monotonic() - worker.began
    worker.state = "done" if code == 0 else "interrupted" if code in TOLD_TO_STOP else "failed"
    return True


def _stop(active: list[Worker]) -> None:
    """End the jobs' whole process trees, groups, for a child may outlive its job: ask, wait, insist.

    A second Ctrl-C ends the asking and the waiting; one that hits the killing only has it done once more."""
    processes = [worker.process for worker in active if worker.process is not None]
    for sign, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(Interrupted):
            for process in processes:
                process.poll()
            # What a nursery was told and has not forked has no number: it ends with the nursery, before it begins.
            begun = {process.pid: process for process in processes if process.pid is not None}
            for group in begun:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, sign)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and any(process.poll() is None for process in begun.values()):
                time.sleep(POLL_SECONDS)


def gpus() -> list[str]:
    """The GPUs that this process may use, by number, found without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
