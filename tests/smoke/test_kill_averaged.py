"""A run with an averaged network, killed between two epochs, ends with the bytes of one that was not."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advarch.cli.compose import planned_jobs
from advarch.cli.run import write
from tests.smoke.kill_driver import OVERRIDES

RULES = {
    "ema": ["averaging=ema", "averaging.decay=0.9"],
    "swa": ["averaging=swa", "averaging.start=1"],
}


def job(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "advarch.cli.job", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_after(folder: Path, epochs: int) -> int:
    """Kill the run as soon as that many epochs are in metrics.csv."""
    process, metrics = job(folder), folder / "metrics.csv"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and len(metrics.read_text().splitlines()) > epochs:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    return process.wait()


def finished(folder: Path) -> dict[str, str]:
    process = job(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    names = ("model.safetensors", "model_last.safetensors")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
@pytest.mark.parametrize("rule", RULES)
def test_a_killed_run_ends_with_the_same_average(rule: str, tmp_path: Path) -> None:
    options = [*OVERRIDES, *RULES[rule], "trainer.max_epochs=4", "stages=[train]"]
    found = []
    for number, kill in enumerate((False, True)):
        (planned,) = planned_jobs([*options, f"outputs={tmp_path / str(number)}"], check=True)
        folder = planned.folder.path
        write(planned)
        if kill:
            assert killed_after(folder, 2) == -signal.SIGKILL
        found.append(finished(folder))
    assert found[0] == found[1]
