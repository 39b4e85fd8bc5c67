"""Submitting, status, cancel and retry without Slurm: a queue that the test fills."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from advarch.cli import slurm
from advarch.cli.cancel import cancel
from advarch.cli.compose import PlannedJob, normalise
from advarch.cli.main import main
from advarch.cli.retry import retry
from advarch.cli.status import status
from advarch.errors import InputError
from advarch.launch import queue
from advarch.launch.queue import Queued
from advarch.launch.slurm import settings
from advarch.launch.submission import submitted
from advarch.runs import trust
from advarch.runs.folder import RunFolder


class Cluster:
    """Takes arrays; `run` starts nothing, the test says what becomes of their tasks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tasks: dict[str, Queued] = {}
        self.arrays: list[list[str]] = []
        monkeypatch.setattr(queue, "queued", lambda: dict(self.tasks))
        monkeypatch.setattr(queue, "largest_array", lambda: 4)
        monkeypatch.setattr(queue, "submit", self.submit)
        monkeypatch.setattr(queue, "cancel", lambda names: [self.tasks.pop(name) for name in names])

    def submit(self, arguments: list[str]) -> str:
        self.arrays.append(arguments)
        number = str(len(self.arrays))
        last = int(arguments[0].removeprefix("--array=0-").partition("%")[0])
        self.tasks |= {f"{number}_{task}": Queued("PENDING", 0, "Resources") for task in range(last + 1)}
        return number


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return Cluster(monkeypatch)


def jobs(count: int) -> list[PlannedJob]:
    config: dict[str, Any] = {
        "stages": ["train"],
        "evaluation": {},
        "choices": {},
        "defense": {},
        "search": {"name": "none"},
        "trainer": {"devices": "auto"},
    }
    return [
        PlannedJob({**config, "seed": n}, RunFolder(Path(os.path.abspath(f"outputs/grid/job{n}"))))
        for n in range(count)
    ]


def ended(job: PlannedJob, state: Any, error: str = "") -> None:
    job.folder.begin("train")
    job.folder.end("train", state, error)


def test_the_same_sweep_twice_submits_nothing_twice(cluster: Cluster, capsys: Any) -> None:
    slurm.submit(jobs(6), settings({}), "6 jobs")
    assert [array[0] for array in cluster.arrays] == ["--array=0-3", "--array=0-1"]
    assert (Path("outputs/grid/job5/config.yaml")).exists()
    assert capsys.readouterr().out.splitlines() == [
        "6 jobs, 0 queued or running already, 6 to submit",
        "submitted array 1: 4 tasks",
        "submitted array 2: 2 tasks",
        "script: outputs/grid/slurm/1/submit.sh; follow them: advarch status outputs/grid",
    ]
    slurm.submit(jobs(8), settings({}), "8 jobs")
    assert "6 queued or running already, 2 to submit" in capsys.readouterr().out
    assert [line.split("/")[-1] for line in Path("outputs/grid/slurm/2/tasks.txt").read_text().split()] == [
        "job6",
        "job7",
    ]
    slurm.submit(jobs(8), settings({}), "8 jobs")
    assert "0 to submit" in capsys.readouterr().out and len(cluster.arrays) == 3


def test_what_ended_meanwhile_is_not_submitted(cluster: Cluster) -> None:
    grid = jobs(3)
    ended(grid[0], "done")
    slurm.submit(grid, settings({}), "")
    assert [array[0] for array in cluster.arrays] == ["--array=0-1"]


def test_a_dry_run_shows_the_script_and_leaves_nothing(cluster: Cluster, capsys: Any) -> None:
    slurm.submit(jobs(5), settings({"dry_run": True, "jobs_per_task": 2, "parallel": 2}), "5 jobs")
    out = capsys.readouterr().out
    assert out.startswith('#!/bin/bash\n#SBATCH --job-name="grid"\n#SBATCH --nodes=1\n')
    assert out.splitlines()[-2:] == [
        "5 jobs, 5 to submit",
        "sbatch --array=0-2%2 outputs/grid/slurm/N/submit.sh 0",
    ]
    assert cluster.arrays == [] and not Path("outputs").exists()


def test_status_tells_queued_from_failed_and_how_often_queued_again(cluster: Cluster, capsys: Any) -> None:
    grid = jobs(4)
    slurm.submit(grid, settings({}), "")
    ended(grid[0], "failed", "KeyError: 'x'")
    ended(grid[1], "interrupted", "stopped by SIGUSR1")
    grid[2].folder.begin("train")
    del cluster.tasks["1_0"], cluster.tasks["1_2"]
    cluster.tasks["1_1"] = Queued("PENDING", 3, "BeginTime")
    capsys.readouterr()
    assert status([]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == "grid: 2 failed, 2 queued"
    assert lines[2] == "job0 failed KeyError: 'x'"
    assert lines[3] == "job1 queued requeued 3 times; BeginTime"
    assert lines[4].startswith("job2 failed ended without a word; see") and lines[4].endswith("/1_2.log")
    assert lines[5] == "job3 queued Resources"


def test_a_damaged_folder_is_a_failure_among_the_others(cluster: Cluster, capsys: Any) -> None:
    grid = jobs(3)
    slurm.submit(grid, settings({}), "")
    cluster.tasks.clear()
    (grid[0].folder.path / "config.yaml").write_text("a: [")
    grid[1].folder.begin("train")
    (grid[1].folder.path / "analysis.json").write_text("{")
    capsys.readouterr()
    assert status([]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "grid: 2 failed, 1 missing" in out and "config.yaml" in out and "analysis.json is damaged" in out


def test_without_slurm_status_says_so_and_goes_by_the_folders(
    cluster: Cluster, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.submit(jobs(1), settings({}), "")

    def down() -> dict[str, Queued]:
        raise InputError("squeue: down")

    monkeypatch.setattr(queue, "queued", down)
    assert status([]) == 0
    said = capsys.readouterr()
    assert "grid: 1 missing" in said.out
    assert said.err == "advarch: warning: squeue: down; the states are those of the run folders alone\n"


def test_retry_submits_what_failed_with_settings_changed(cluster: Cluster, capsys: Any) -> None:
    grid = jobs(4)
    slurm.submit(grid, settings({"time": "1:00:00", "partition": "short", "wait": True}), "")
    for job, state in zip(grid, ("failed", "done", "interrupted", "failed"), strict=True):
        ended(job, state)
    cluster.tasks.clear()
    assert retry(["failed", "outputs", "time=8:00:00", "cpus=8"]) == 0
    assert "outputs/grid: 2 of 4 failed, 0 queued or running already, 2 to submit" in capsys.readouterr().out
    kept = submitted(Path("outputs/grid"))[-1][1]
    assert kept.tasks == (("job0",), ("job3",))
    assert (kept.settings["time"], kept.settings["cpus"], kept.settings["partition"]) == (
        "8:00:00",
        8,
        "short",
    )
    retry(["failed"])
    assert capsys.readouterr().out == "outputs/grid: 0 of 4 failed\n", "they are queued"
    retry(["interrupted"])
    assert submitted(Path("outputs/grid"))[-1][1].tasks == (("job2",),)


def test_retry_asks_for_the_packages_that_were_trusted(
    cluster: Cluster, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_own", ["mine", "yours.nets"])
    monkeypatch.setattr(sys, "path", sys.path[:])
    grid = jobs(2)
    slurm.submit(grid, settings({}), "")
    assert submitted(Path("outputs/grid"))[-1][1].trust == ("mine", "yours.nets")
    cluster.tasks.clear()
    ended(grid[0], "failed")
    trust._own[:] = []
    assert main(["retry", "failed", "outputs", "cpus=8", "--trust", "mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("type advarch retry failed outputs cpus=8 --trust mine --trust yours.nets")
    assert len(cluster.arrays) == 1, "nothing was submitted"
    assert status([]) == 0 and main(["retry", "interrupted"]) == 0, "nothing is trusted where nothing runs"
    assert main(["retry", "failed", "outputs", "--trust", "mine", "--trust=yours.nets"]) == 0
    folder, kept = submitted(Path("outputs/grid"))[-1]
    assert kept.tasks == (("job0",),) and kept.trust == ("mine", "yours.nets")
    assert "--trust=mine --trust=yours.nets" in (folder / "submit.sh").read_text()


def test_what_a_stranger_s_file_trusts_is_typed_safely(
    cluster: Cluster, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_own", ["x; rm -rf ~"])
    grid = jobs(1)
    slurm.submit(grid, settings({}), "")
    cluster.tasks.clear()
    ended(grid[0], "failed")
    trust._own[:] = []
    assert main(["retry", "failed"]) == 2
    assert capsys.readouterr().err.endswith("--trust 'x; rm -rf ~'\n") and trust.own() == ()


def test_cancel_takes_a_sweep_or_one_run_out_of_the_queue(cluster: Cluster, capsys: Any) -> None:
    slurm.submit(jobs(4), settings({}), "")
    cluster.tasks["9_0"] = Queued("RUNNING")
    cluster.tasks["1_3"] = Queued("RUNNING")
    capsys.readouterr()
    cancel(["outputs/grid/job2"])
    assert "1_2" not in cluster.tasks and len(cluster.tasks) == 4
    cancel([])
    assert capsys.readouterr().out.splitlines()[-1] == "cancelled 3 tasks: 2 that waited, 1 that ran"
    assert set(cluster.tasks) == {"9_0"}, "another's stays"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["retry"], "retry: expected failed or interrupted, came none"),
        (["retry", "done"], "came done"),
        (["retry", "failed", "nowhere"], "something was submitted to Slurm, came 'nowhere'"),
        (["retry", "failed", "outputs", "tme=3"], "hydra.launcher.tme: unknown key; did you mean 'time'?"),
        (["cancel", "nowhere"], "cancel: expected a folder of runs, came 'nowhere'"),
    ],
)
def test_bad_input_is_one_line(cluster: Cluster, capsys: Any, line: list[str], said: str) -> None:
    grid = jobs(1)
    slurm.submit(grid, settings({}), "")
    cluster.tasks.clear()
    ended(grid[0], "failed")
    assert main(line) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_the_short_words() -> None:
    assert normalise(["wait=true", "+dry_run=true"]) == ["hydra.launcher.wait=true", "+dry_run=true"]
