"""On a real Slurm through the real command line, real trainings on digits: an array of twelve, two nodes, a preemption."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from advarch.launch.queue import queued
from tests.slurm.cluster import ask, release, wait_for
from tests.smoke.command import finished, start
from tests.smoke.test_multirun import wandb_records
from tests.smoke.test_processes import SMALL, rows, stages

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm"), pytest.mark.timeout(1800)]

CLUSTER = [
    "hydra/launcher=slurm",
    "hydra.launcher.cpus=1",
    "hydra.launcher.time=1:00:00",
    "trainer.accelerator=cpu",
]
TINY = [*SMALL, "trainer.threads=1", "trainer.max_epochs=2", "attack.steps=1"]


def advarch(cwd: Path, *arguments: str) -> str:
    """What a command prints; it has to end well."""
    code, out, err = finished(cwd, cwd / "said", *arguments)
    assert code == 0, err
    return out


def finish() -> None:
    wait_for(lambda: release() or not queued(), 900)


def runs(root: Path) -> dict[str, Path]:
    return {folder.parent.name: folder.parent for folder in root.glob("outputs/single/*/config.yaml")}


def test_twelve_trainings_of_which_one_is_killed_and_one_raises(tmp_path: Path) -> None:
    # More epochs than elsewhere: one is to be met at work.
    sweep = ["-m", *TINY, "trainer.max_epochs=10", *CLUSTER]
    sweep += ["optimizer.lr=1e30,0.11,0.12,0.13,0.14,0.15,0.16,0.17,0.18,0.19,0.2,0.21"]
    both = [start(tmp_path, tmp_path / turn, *sweep) for turn in ("one", "other")]
    said = [process.ended() for process in both]
    assert [code for code, _, _ in said] == [0, 0], said
    first, second = sorted(
        (out.splitlines()[0] for _, out, _ in said), key=lambda line: "12 to submit" not in line
    )
    assert first == "12 jobs: 0 done already, 0 queued or running already, 12 to submit"
    assert second == "12 jobs: 0 done already, 12 queued or running already, 0 to submit"
    folders = runs(tmp_path)
    good = [folder for folder in folders.values() if "lr1e+30" not in folder.name]

    def killed() -> bool:
        """Whether one was, after its first epochs; who has ended meanwhile leaves no lock, or that of no process."""
        for folder in good:
            if 1 <= rows(folder) <= 5:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    os.kill(json.loads((folder / ".lock").read_text())["pid"], signal.SIGKILL)
                    return True
        return False

    wait_for(killed)
    finish()
    nodes = {line for line in ask("squeue", "--states=all", "--noheader", "--format=%N").splitlines() if line}
    assert {"n1", "n2"} <= nodes
    assert "12" in advarch(tmp_path, "status") and len(folders) == 12
    ended = Counter(stage["state"] for f in good for stage in stages(f).values())
    assert ended == {"done": 20, "running": 1}, "the killed one said nothing"
    assert {attempts(folder) for folder in folders.values()} == {1}, "each point ran once"
    out = " ".join(advarch(tmp_path, "status").split())
    assert "10 done, 2 failed" in out and "ended by signal 9" in out and "non-finite loss" in out
    assert "2 of 12 failed" in advarch(tmp_path, "retry", "failed", "outputs")
    finish()
    out = advarch(tmp_path, "status")
    assert "11 done, 1 failed" in out
    assert sum(attempts(folder) for folder in folders.values()) == 14


def attempts(folder: Path) -> int:
    return int(stages(folder)["train"]["attempts"])


def test_two_nodes_of_two_processes_each_and_a_container(tmp_path: Path) -> None:
    container = tmp_path / "container"
    container.write_text(
        f'#!/bin/sh\necho "node $NODE_RANK of $SLURM_JOB_NUM_NODES" >> {tmp_path}/seen\nexec "$@"\n'
    )
    container.chmod(0o755)
    four = ["trainer=ddp_cpu", "trainer.devices=2", "trainer.num_nodes=2"]
    launch = [
        *CLUSTER,
        f"hydra.launcher.container={container}",
        "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']",
    ]
    out = advarch(tmp_path, *TINY, *four, *launch, "wait=true")
    assert "1 done, 0 failed, 0 stopped" in out
    assert sorted((tmp_path / "seen").read_text().splitlines()) == ["node 0 of 2", "node 1 of 2"]
    (folder,) = runs(tmp_path).values()
    assert {stage["state"] for stage in stages(folder).values()} == {"done"} and rows(folder) == 2
    record = json.loads((folder / "evaluation.json").read_text())["checkpoints"]["last"]
    assert {result["total"] for result in record["results"]} == {200}


def test_preempted_a_training_goes_on_in_the_same_wandb_run(tmp_path: Path) -> None:
    # An epoch takes a third of a second, and Slurm some to hear of the other job: this one must still be at work.
    epochs = 60
    advarch(tmp_path, *TINY, *CLUSTER, f"trainer.max_epochs={epochs}", "logger=wandb")
    (folder,) = runs(tmp_path).values()
    wait_for(lambda: rows(folder) >= 2)
    ask("sbatch", "--partition=high", "--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: any(each.restarts == 1 and each.waits for each in queued().values()))
    before = rows(folder)
    assert stages(folder)["train"]["state"] == "interrupted" and before < epochs
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert "requeued 1 time" in " ".join(advarch(tmp_path, "status").split())
    finish()
    assert {stage["state"] for stage in stages(folder).values()} == {"done"} and attempts(folder) == 2
    assert [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]] == [
        str(epoch) for epoch in range(1, epochs + 1)
    ]
    ids, steps = set(), set[Any]()
    for path in folder.glob("wandb/offline-run-*/run-*.wandb"):
        for record in wandb_records(path):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                steps.add(record.history.step.num)
    assert len(ids) == 1 and set(range(1, epochs + 1)) <= steps


def test_a_single_run_is_submitted_too_and_what_is_wrong_with_it_is_said_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "advarch.cli.main", *TINY, *CLUSTER, "hydra.launcher.time=soon"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2 and ended.stderr.startswith(
        "advarch: error: hydra.launcher.time: expected minutes"
    )
    assert not (tmp_path / "outputs").exists()
