"""Run one folder: `python -m advarch.cli.job FOLDER`. It knows nothing of Hydra's command line.

A laptop, a SLURM task and a rank of a distributed job all run this line; any folder can be run again years later.
Exit codes: 0 done, 1 failed, 2 bad input, 75 another process holds the folder.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from advarch.cli.display import JobDisplay
from advarch.errors import InputError
from advarch.launch.local import BUSY
from advarch.runs.binding import bind
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder
from advarch.runs.lock import Busy, FolderLock
from advarch.runs.tracking import NoTracker, Tracker, open_tracker

FAILED, BAD_INPUT = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages of the config.yaml in a folder."""
    parser = argparse.ArgumentParser("python -m advarch.cli.job", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--trust", action="append", default=[], help="package whose objects the config may name"
    )
    options = parser.parse_args(arguments)
    _die_with_parent()
    warnings.showwarning = _one_line
    first = _is_first_rank()
    folder = RunFolder(options.folder)
    try:
        with _held(folder, first):
            return run(folder, tuple(options.trust), first)
    except Busy as busy:
        print(f"advarch: {busy}", file=sys.stderr)
        return BUSY
    except InputError as error:
        print(f"advarch: error: {error}", file=sys.stderr)
        return BAD_INPUT


def run(folder: RunFolder, trust: tuple[str, ...] = (), first: bool = True) -> int:
    """Run the folder's stages in order, finished ones skipped; the folder is already held.

    Raises:
        InputError: the config can't be used.
    """
    config = bind(folder.config(), trust)
    stages = [stage for stage in config["stages"] if not folder.finished(stage, config)]
    if not stages:
        print(f"{folder.path}: nothing left to do")
        return 0
    _sweep_temporary_files(folder.path)
    tracker: Tracker = NoTracker()
    with JobDisplay() if first else contextlib.nullcontext() as display:
        say = display.say if display else _silent
        say(str(folder.path))
        if first:
            from advarch.cli.provenance import write_provenance

            write_provenance(folder.path, config)
            tracker = open_tracker(folder.path, config)
        code = FAILED
        try:
            code = _run_stages(folder, config, stages, tracker, display, first)
        finally:
            tracker.finish(code)
    return code


def _run_stages(
    folder: RunFolder,
    config: Config,
    stages: Sequence[str],
    tracker: Tracker,
    display: JobDisplay | None,
    first: bool,
) -> int:
    from advarch.stages.job import Job

    def report(progress: Any) -> None:
        folder.report(progress)
        if display:
            display.report(progress)

    job = Job(folder, config, tracker, report, display.say if display else _silent)
    for stage in stages:
        if not first and stage != "train":
            break
        with _accounted(folder, stage) if first else contextlib.nullcontext():
            try:
                _stage(stage)(job)
            except InputError as error:
                if first:
                    folder.end(stage, "failed", str(error))
                print(f"advarch: error: {error}", file=sys.stderr)
                return BAD_INPUT
            except Exception as error:
                if first:
                    folder.end(stage, "failed", _last_line(error))
                traceback.print_exc()
                return FAILED
    return 0


@contextlib.contextmanager
def _accounted(folder: RunFolder, stage: str) -> Iterator[None]:
    """Keep status.json true, also when the process is told to stop."""
    folder.begin(stage)
    try:
        yield
    except BaseException as error:
        folder.end(stage, "interrupted", _last_line(error))
        raise
    if folder.status().stages[stage].state == "running":
        folder.end(stage, "done")


def _stage(name: str) -> Callable[[Any], None]:
    """The function of a stage, imported when it is its turn."""
    if name == "train":
        from advarch.stages.train import train

        return train
    from advarch.stages.evaluate import run_evaluation

    return run_evaluation


@contextlib.contextmanager
def _held(folder: RunFolder, first: bool) -> Iterator[None]:
    """Hold the folder; the other ranks of a distributed job stand behind the first one's lock."""
    if not folder.config_path.is_file():
        folder.config()
    with FolderLock(folder.path) if first else contextlib.nullcontext():
        yield


def _is_first_rank() -> bool:
    return all(
        os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    )


def _die_with_parent() -> None:
    """A worker ends with its launcher even when that is killed; what it saved is whole, and the next launch goes on."""
    signal.signal(signal.SIGTERM, _stop)
    if os.environ.get("ADVARCH_WORKER") and sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _sweep_temporary_files(folder: Path) -> None:
    """What a killed process left half written; nobody else is in the folder."""
    for pattern in (".*.tmp*", "checkpoints/.*.tmp*", "checkpoints/.*.written"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


def _one_line(message: Any, *_: Any, **__: Any) -> None:
    """A warning as the user reads it, without the source line that raised it."""
    print(f"advarch: warning: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    del line


if __name__ == "__main__":
    sys.exit(main())
