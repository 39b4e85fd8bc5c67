"""Where a run stands, by its folder and the queue; what a submission writes, and that two of them take turns."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from advarch.errors import InputError
from advarch.launch import queue, submission
from advarch.launch.queue import Queued
from advarch.launch.slurm import Array, settings
from advarch.launch.submission import Place, Submission, places, standing, submit, submitted, turn
from advarch.runs.folder import RunFolder
from advarch.runs.lock import FolderLock

CONFIG: dict[str, Any] = {"stages": ["train"]}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "slurm" / "1"
    folder.mkdir(parents=True)
    return Place(folder, "7_0", None)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    return folder


def word(run: RunFolder, place: Place | None, queued: Queued | None = None) -> tuple[str, str, int]:
    stands = standing(run, CONFIG, place and Place(place.folder, place.task, queued))
    return stands.state, stands.note, stands.requeued


WAITS, RUNS = Queued("PENDING", 2, "Resources"), Queued("RUNNING", 1)


def test_a_run_that_never_began(run: RunFolder, place: Place) -> None:
    assert word(run, None) == word(run, place) == ("missing", "", 0)
    assert word(run, place, WAITS) == ("queued", "Resources", 2)
    assert word(run, place, RUNS) == ("starting", "", 1)
    # Its task began, and is not there any more: a setup line, the container or the config was at fault.
    (place.folder / "7_0.log").touch()
    assert word(run, place) == ("failed", f"ended without a word; see {place.folder}/7_0.log", 0)
    (run.path / "job.log").write_text("x\nadvarch: error: dataset.root: expected a folder\n")
    assert word(run, place) == ("failed", "dataset.root: expected a folder", 0)


def test_slurm_s_own_verdict_counts_nothing(run: RunFolder, place: Place) -> None:
    run.begin("train")
    run.end("train", "failed", "KeyError: 'x'")
    assert word(run, place) == word(run, None) == ("failed", "KeyError: 'x'", 0)
    run.end("train", "done")
    assert word(run, place) == word(run, place, Queued("COMPLETING")) == ("done", "", 0)


def test_a_run_at_work_is_running_whoever_started_it(run: RunFolder, place: Place) -> None:
    run.begin("train")
    with FolderLock(run.path):
        assert word(run, place, RUNS) == ("running", "", 1)
        assert word(run, place)[0] == word(run, None)[0] == "running"


def test_a_run_that_was_killed_failed(run: RunFolder, place: Place) -> None:
    run.begin("train")
    assert word(run, None)[0] == "interrupted", "not Slurm's business"
    assert word(run, place)[0] == "failed"
    (run.path / "job.log").write_text("epoch 3\nadvarch: ended by signal 9\n")
    assert word(run, place) == ("failed", "ended by signal 9", 0)
    assert word(run, place, WAITS)[0] == "queued", "its node failed, and Slurm queued it again"


def test_a_run_that_was_told_to_stop(run: RunFolder, place: Place) -> None:
    run.begin("train")
    run.end("train", "interrupted", "stopped by SIGUSR1")
    assert word(run, place) == ("interrupted", "stopped by SIGUSR1", 0)
    assert word(run, place, WAITS) == ("queued", "Resources", 2)
    (run.path / "job.log").write_text("advarch: not queued again after 20 times\n")
    (run.path / "provenance.json").write_text(
        json.dumps({"attempts": [{"slurm": {"task": "7_0", "restarts": 20}}]})
    )
    assert word(run, place) == ("interrupted", "not queued again after 20 times", 20)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []

    def sbatch(arguments: list[str]) -> str:
        if len(calls) == 2:
            raise InputError("sbatch: no more")
        calls.append(list(arguments))
        return str(40 + len(calls))

    monkeypatch.setattr(queue, "submit", sbatch)
    return calls


def test_a_submission_keeps_what_was_asked(tmp_path: Path, asked: list[list[str]]) -> None:
    packed = [(tmp_path / "a", tmp_path / "b"), (tmp_path / "c",)]
    cut = [Array(0, 1, 3), Array(1, 1, 2)]
    slurm = settings({"time": "1:00:00", "jobs_per_task": 2})
    folder = submit(tmp_path, slurm, packed, cut, lambda folder: f"in {folder}\n")
    assert folder == tmp_path / "slurm" / "1"
    assert (folder / "submit.sh").read_text() == f"in {folder}\n"
    assert (folder / "tasks.txt").read_text() == f"{tmp_path}/a\t{tmp_path}/b\n{tmp_path}/c\n"
    assert asked == [
        ["--array=0-0%3", f"{folder}/submit.sh", "0"],
        ["--array=0-0%2", f"{folder}/submit.sh", "1"],
    ]
    ((where, kept),) = submitted(tmp_path)
    assert where == folder and settings(kept.settings) == slurm
    assert kept.task_names() == {"41_0": ("a", "b"), "42_0": ("c",)}


def test_what_was_submitted_before_slurm_refused_is_known(tmp_path: Path, asked: list[list[str]]) -> None:
    packed = [(tmp_path / name,) for name in "abc"]
    with pytest.raises(InputError, match="no more"):
        submit(tmp_path, settings({}), packed, [Array(n, 1) for n in range(3)], str)
    assert set(places(tmp_path, {})) == {"a", "b"}


def test_the_last_place_counts_but_one_in_the_queue_more(tmp_path: Path) -> None:
    for number, job in (("2", "50"), ("10", "60")):
        kept = Submission({}, (("a",), ("b",)), (Array(0, 2, None, job),))
        (tmp_path / "slurm" / number).mkdir(parents=True)
        (tmp_path / "slurm" / number / "submission.json").write_text(submission.records.dump(kept))
    assert {name: place.task for name, place in places(tmp_path, {}).items()} == {"a": "60_0", "b": "60_1"}
    found = places(tmp_path, {"50_1": RUNS})
    assert (found["b"].task, found["b"].queued) == ("50_1", RUNS) and found["a"].task == "60_0"


def test_two_submissions_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "TURN_SECONDS", 0.01)
    inside, seen = 0, []

    def go() -> None:
        nonlocal inside
        with turn(tmp_path):
            inside += 1
            seen.append(inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 4
