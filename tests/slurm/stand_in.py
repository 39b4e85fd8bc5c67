"""Python's stand-in on the throw-away cluster: the real job (lock, status, signals, exit codes) around a training that only counts.

`stand_in.py -m advarch.cli.job FOLDER` appends a number to FOLDER/steps every config.seconds, up to config.steps, goes on where it was,
and meets config.trouble on its first attempt: kill, raise or full (disk).
"""

import errno
import os
import signal
import sys
import time
import types
from dataclasses import make_dataclass
from typing import Any

from advarch.cli import crew, job, provenance
from advarch.records import Progress


def train(given: Any) -> None:
    """Count."""
    config, path = given.config, given.folder.path / "steps"
    trouble, tried = config["trouble"], given.folder.path / "tried"
    done = len(path.read_text().split()) if path.exists() else 0
    with given.stop.deferred():
        for step in range(done + 1, config["steps"] + 1):
            time.sleep(config["seconds"])
            if trouble and not tried.exists() and step > config["steps"] // 2:
                tried.touch()
                meet(trouble)
            with path.open("a") as file:
                file.write(f"{step}\n")
            given.report(
                Progress("train", step, config["steps"], "step", None, f"epoch {step}/{config['steps']}")
            )
            given.stop.check()


def meet(trouble: str) -> None:
    """What befalls a job."""
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "last.ckpt")
    raise KeyError("injected")


Given = make_dataclass("Given", ("folder", "config", "tracker", "report", "say", "stop", "place"))
"""A stage's job; its own module would bring torch, and each of some 200 attempts three seconds of it."""


if __name__ == "__main__":
    assert sys.argv[1] == "-m" and sys.argv[2].startswith("advarch.cli.")
    sys.modules["advarch.stages.job"] = types.SimpleNamespace(Job=Given)  # type: ignore[assignment]
    sys.modules["advarch.stages.tracked"] = types.SimpleNamespace(tell=lambda job, stage: None)  # type: ignore[assignment]
    job.bind = lambda config: config
    job._stage = lambda name: train
    provenance._attempt = lambda config: {
        "slurm": provenance._slurm(),
        "node": os.environ["SLURMD_NODENAME"],
        "gpus": os.environ["CUDA_VISIBLE_DEVICES"],
    }
    # The crew starts its jobs as this process was started.
    crew.local.command = lambda folder, trust=(): [
        sys.executable,
        __file__,
        "-m",
        "advarch.cli.job",
        str(folder),
    ]
    module = crew if sys.argv[2].endswith("crew") else job
    sys.exit(module.main(sys.argv[3:]))
