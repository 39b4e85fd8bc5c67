"""Jobs on this machine: worker processes, one process tree per job."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advarch.records import State
from advarch.runs.lock import holder

BUSY = 75
"""Exit code of a job whose folder another process holds (EX_TEMPFAIL)."""

POLL_SECONDS = 0.1
FOREIGN = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID")
"""What one job's ranks leave in the environment must never reach the next job."""


@dataclass
class Worker:
    """One job and its process."""

    folder: Path
    command: Sequence[str] = ()
    threads: int = 1
    process: subprocess.Popen[bytes] | None = None
    state: State = "missing"
    began: float = 0.0
    seconds: float = 0.0
    gpu: str | None = None


@dataclass
class Crew:
    """All jobs of a launch, as the display sees them."""

    workers: list[Worker]
    size: int
    began: float = field(default_factory=time.monotonic)


def command(folder: Path, trust: Sequence[str] = ()) -> list[str]:
    """The one way a job runs."""
    return [sys.executable, "-m", "advarch.cli.job", str(folder), *(f"--trust={name}" for name in trust)]


def run(
    folders: Sequence[Path],
    *,
    workers: int | None,
    show: Callable[[Crew], None],
    trust: Sequence[str] = (),
) -> Crew:
    """Run all jobs, so many at a time. A job that fails stops nobody else; its output lies in its folder, job.log.

    A job that another launch already works on is waited for. Ctrl-C ends all of them; what they saved stays.

    Args:
        folders: run folders with their config.yaml.
        workers: jobs at a time; None: one per GPU, without a GPU one per core, at most eight.
        show: called about ten times a second and whenever a job changes its state.
        trust: packages whose objects a config may name.
    """
    gpus = _gpus()
    size = workers or (len(gpus) or min(8, os.cpu_count() or 1))
    size = min(size, max(1, len(folders)))
    threads = max(1, (os.cpu_count() or 1) // size)
    crew = Crew([Worker(folder, command(folder, trust), threads) for folder in folders], size)
    waiting, free_gpus = (
        deque(crew.workers),
        deque(gpus[i % len(gpus)] for i in range(crew.size)) if gpus else deque(),
    )
    active: list[Worker] = []
    try:
        while waiting or active:
            while waiting and len(active) < crew.size:
                worker = waiting.popleft()
                worker.gpu = free_gpus.popleft() if free_gpus else None
                _start(worker)
                active.append(worker)
                show(crew)
            time.sleep(POLL_SECONDS)
            for worker in [worker for worker in active if _ended(worker)]:
                active.remove(worker)
                if worker.gpu is not None:
                    free_gpus.append(worker.gpu)
            show(crew)
    except BaseException:
        _stop(active)
        raise
    return crew


def _start(worker: Worker) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    environment["ADVARCH_WORKER"] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, str(worker.threads))
    if worker.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = worker.gpu
    worker.began = time.monotonic()
    worker.state = "running"
    with (worker.folder / "job.log").open("ab") as log:
        worker.process = subprocess.Popen(
            worker.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _ended(worker: Worker) -> bool:
    if worker.process is None:
        # Another launch has it: start our own process once it lets go, which finds nothing left to do or goes on.
        if holder(worker.folder) is None:
            _start(worker)
        return False
    code = worker.process.poll()
    if code is None:
        return False
    if code == BUSY:
        worker.process = None
        return False
    worker.seconds = time.monotonic() - worker.began
    worker.state = "done" if code == 0 else "failed"
    return True


def _stop(active: list[Worker]) -> None:
    """End the jobs' whole process trees: ask, wait, insist. A child may outlive its job, so groups are ended, not processes."""
    groups = [worker.process.pid for worker in active if worker.process is not None]
    for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, sign)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(
            worker.process.poll() is None for worker in active if worker.process
        ):
            time.sleep(POLL_SECONDS)


def _gpus() -> list[str]:
    """The GPUs that this process may use, by number, found without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
