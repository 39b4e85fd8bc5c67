"""Run one folder: `python -m advarch.cli.job FOLDER`. It knows nothing of Hydra's command line.

A laptop, a SLURM task and a rank of a distributed job all run this line; any folder can be run again years later.
Exit codes: 0 done; 1 failed; 2 bad input; 75 another process holds the folder; 79 told to stop (SIGTERM, SIGUSR1), what was
done is saved and the same line goes on from there; 130 the same after Ctrl-C.
"""

import argparse
import contextlib
import ctypes
import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from advarch.cli.display import JobDisplay
from advarch.cli.ranks import count_of, run_ranks
from advarch.errors import InputError, Interrupted, RunFailed
from advarch.launch.heap import keep_freed
from advarch.launch.local import BUSY
from advarch.launch.ranks import Place, here
from advarch.launch.signals import StopRequest, end_process, exit_code, name_of
from advarch.runs.binding import bind
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder
from advarch.runs.genotypes import with_found
from advarch.runs.lock import Busy, FolderLock
from advarch.runs.tracking import NoTracker, Tracker, open_tracker
from advarch.runs.trust import own, trust

FAILED, BAD_INPUT = 1, 2

STAGES = {"search": "search", "train": "train", "evaluate": "run_evaluation", "analyse": "run_analysis"}
"""The function of each stage, in the module of its name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages of the config.yaml in a folder."""
    parser = argparse.ArgumentParser("python -m advarch.cli.job", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--trust", action="append", default=[], help="package whose objects the config may name"
    )
    options = parser.parse_args(arguments)
    stop = StopRequest()
    stop.listen()
    die_with_parent()
    keep_freed()
    warnings.showwarning = _one_line
    folder, place = RunFolder(options.folder), here()
    try:
        trust(options.trust)
        config = bind(folder.config())
        with _held(folder, place):
            if _left(folder, config) and place.world_size == 1:
                count, nodes = count_of(config)
                if count * nodes > 1:
                    return run_ranks(folder, config, own(), count, nodes)
            return run(folder, config, stop, place)
    except Busy as busy:
        print(f"advarch: {busy}", file=sys.stderr)
        return BUSY
    except InputError as error:
        print(f"advarch: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except Interrupted as told:
        if place.rank == 0:
            print(
                f"advarch: stopped by {name_of(told.number)}; what was saved stays, the same command goes on from there",
                file=sys.stderr,
            )
        return exit_code(told.number)
    except OSError as error:
        if not _full(error):
            raise
        print(f"advarch: error: {_said(error)}", file=sys.stderr)
        return FAILED


def run(folder: RunFolder, config: Config, stop: StopRequest, place: Place) -> int:
    """Run the folder's stages in order, finished ones skipped; the folder is already held.

    Raises:
        InputError: the config can't be used.
        Interrupted: the process was told to stop.
    """
    stages = _left(folder, config)
    if not stages:
        print(f"{folder.path}: nothing left to do")
        return 0
    first = place.rank == 0
    tracker: Tracker = NoTracker()
    with JobDisplay() if first else contextlib.nullcontext() as display:
        if display:
            stop.say = display.say
        stop.say(str(folder.path))
        if first:
            from advarch.cli.provenance import write_provenance

            write_provenance(folder.path, config)
            tracker = open_tracker(folder.path, config)
        code = FAILED
        try:
            code = _run_stages(folder, config, stages, tracker, display, stop, place)
        except Interrupted as told:
            code = exit_code(told.number)
            raise
        finally:
            tracker.finish(code)
    return code


def _run_stages(
    folder: RunFolder,
    config: Config,
    stages: Sequence[str],
    tracker: Tracker,
    display: JobDisplay | None,
    stop: StopRequest,
    place: Place,
) -> int:
    from advarch.stages.job import Job
    from advarch.stages.tracked import tell

    first = place.rank == 0

    def report(progress: Any) -> None:
        if first:
            folder.report(progress)
        if display:
            display.report(progress)

    job = Job(folder, config, tracker, report, stop.say, stop, place)
    for stage in stages:
        job = replace(job, config=with_found(job.config, folder.path))
        with _accounted(folder, stage) if first else contextlib.nullcontext():
            try:
                _stage(stage)(job)
                if first:
                    tell(job, stage)
            except Exception as error:
                _failed(folder, stage, place, _said(error))
                if isinstance(error, InputError):
                    print(f"advarch: error: {error}", file=sys.stderr)
                    return BAD_INPUT
                if isinstance(error, RunFailed) or _full(error):
                    print(f"advarch: error: {_said(error)}", file=sys.stderr)
                else:
                    traceback.print_exc()
                return FAILED
    return 0


def _failed(folder: RunFolder, stage: str, place: Place, said: str) -> None:
    """Note why a stage failed: in status.json, or for the parent of the ranks to read."""
    # Where the disk is full even this may fail; the line that is printed has to do then.
    with contextlib.suppress(OSError):
        if place.rank == 0:
            folder.end(stage, "failed", said)
        else:
            folder.rank_error(place.rank).write_text(said)


@contextlib.contextmanager
def _accounted(folder: RunFolder, stage: str) -> Iterator[None]:
    """Keep status.json true, also when the process is told to stop."""
    folder.begin(stage)
    try:
        yield
    except BaseException as error:
        folder.end(stage, "interrupted", _said(error))
        raise
    if folder.status().stages[stage].state == "running":
        folder.end(stage, "done")


def _stage(name: str) -> Callable[[Any], None]:
    """The function of a stage, imported when it is its turn."""
    found: Callable[[Any], None] = getattr(import_module(f"advarch.stages.{name}"), STAGES[name])
    return found


def _left(folder: RunFolder, config: Config) -> list[str]:
    return [stage for stage in config["stages"] if not folder.finished(stage, config)]


@contextlib.contextmanager
def _held(folder: RunFolder, place: Place) -> Iterator[None]:
    """Hold the folder; the ranks of a distributed job stand behind the lock of their parent, or of the first of them."""
    node = int(os.environ.get("NODE_RANK", "0"))
    if place.rank != 0 or node != 0 or folder.held_by(os.getppid()):
        yield
        return
    with FolderLock(folder.path):
        _sweep_temporary_files(folder.path)
        yield


def die_with_parent() -> None:
    """A worker ends with its launcher even when that is killed; what it saved is whole, and the next launch goes on."""
    if os.environ.get("ADVARCH_WORKER") and sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _sweep_temporary_files(folder: Path) -> None:
    """What a killed process left half written; nobody else is in the folder."""
    for pattern in (".*.tmp*", ".rank*.error", "checkpoints/.*.tmp*", "checkpoints/.*.written", "search/.*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _full(error: BaseException) -> bool:
    """Whether there was no room to write: a full disk, a quota, a limit on file sizes."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _said(error: BaseException) -> str:
    """The error in one line, for status.json and reports."""
    if isinstance(error, Interrupted):
        return f"stopped by {name_of(error.number)}"
    if _full(error):
        where = getattr(error, "filename", None) or "the run folder"
        return (
            f"no room to write {where} ({error}); what was saved before is whole; make room and run it again"
        )
    lines = [line for line in str(error).splitlines() if line.strip()]
    if isinstance(error, (InputError, RunFailed)):
        return " ".join(lines)
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


def _one_line(message: Any, *_: Any, **__: Any) -> None:
    """A warning as the user reads it, without the source line that raised it."""
    print(f"advarch: warning: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    end_process(main())
