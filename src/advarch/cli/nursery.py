"""The process that a launch's jobs are forked from: `python -m advarch.cli.nursery`; see `launch.nursery`.

It imports what every job needs and does nothing else, so a fork of it is as good as a new interpreter: no thread runs, no GPU
was asked, no tensor was computed.
"""

import importlib
import json
import os
import select
import signal
import sys
import traceback
from typing import Any

from advarch.cli import job
from advarch.launch.signals import STOPS, end_process

IMPORTED = (
    "advarch.stages.train",
    "advarch.stages.evaluate",
    "advarch.runs.build",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
)


def main() -> None:
    """Import, then fork each job that is told and tell how it ended, until nobody is left to tell more."""
    job.die_with_parent()
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    # What an import prints must not be taken for an answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    for name in IMPORTED:
        importlib.import_module(name)
    ended, wake = os.pipe()
    for end in (ended, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    told, own = b"", os.getpid()
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _tell_who_ended(answers)
        if 0 in ready:
            more = os.read(0, 65536)
            if not more:
                return
            *lines, told = (told + more).split(b"\n")
            for line in lines:
                heard, begun = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.close(answers)
                    os.close(heard)
                    _become(json.loads(line), own, begun)
                os.close(begun)
                # Who knows its number may end it and its group: it is told once there is one that listens.
                os.read(heard, 1)
                os.close(heard)
                os.write(answers, b"%d\n" % pid)


def _tell_who_ended(answers: int) -> None:
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            os.write(answers, b"%d %d\n" % (pid, os.waitstatus_to_exitcode(status)))
    except ChildProcessError:
        return


def _become(told: dict[str, Any], parent: int, begun: int) -> None:
    """What a new process would be: default signals, a session (then `begun` is closed) and an output of its own; then the job."""
    code = job.FAILED
    try:
        signal.set_wakeup_fd(-1)
        for ignored in (*STOPS, signal.SIGCHLD):
            signal.signal(ignored, signal.SIG_DFL)
        os.setsid()
        os.close(begun)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(log, stream)
        job.die_with_parent()
        if os.getppid() != parent:
            return
        # The run's provenance takes it from here.
        sys.argv = [job.__file__, told["folder"], *(f"--trust={name}" for name in told["trust"])]
        code = job.main(sys.argv[1:])
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else job.FAILED
    except BaseException:
        traceback.print_exc()
    finally:
        end_process(code)


if __name__ == "__main__":
    main()
