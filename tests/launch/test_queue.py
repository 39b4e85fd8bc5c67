"""Reading what Slurm's commands print (as Slurm 22.05 printed it), and what of our environment a submission sees."""

import stat
from pathlib import Path

import pytest

from advarch.errors import InputError
from advarch.launch import queue
from advarch.launch.queue import FIELDS, Queued, parse_largest, parse_queue

PRINTED = [
    ("12_0", "RUNNING", "0", "None"),
    ("12_3", "PENDING", "2", "BeginTime"),
    ("13_1000", "COMPLETING", "0", "None"),
    ("14", "PENDING", "0", "Nodes required for job are DOWN, DRAINED"),
]


def test_columns_of_squeue() -> None:
    text = "\n".join(
        "".join(cell.ljust(w) for cell, w in zip(row, FIELDS.values(), strict=True)) for row in PRINTED
    )
    found = parse_queue(text + "\n")
    assert found == {
        "12_0": Queued("RUNNING"),
        "12_3": Queued("PENDING", 2, "BeginTime"),
        "13_1000": Queued("COMPLETING"),
        "14": Queued("PENDING", 0, "Nodes required for job are DOWN, DRAINED"),
    }
    assert [each.waits for each in found.values()] == [False, True, False, True]
    assert parse_queue("") == {}


def test_the_largest_array() -> None:
    text = "MaxArrayTasks           = 7\nMaxArraySize            = 5001\nMaxDBDMsgs              = 20012\n"
    assert parse_largest(text) == 5001
    assert parse_largest("") == 1001
    with pytest.raises(InputError, match="takes arrays, came MaxArraySize=0"):
        parse_largest("MaxArraySize = 0\n")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def stand_in(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_submission_gives_its_number_and_sees_nothing_of_the_job_that_submits(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_MEM_PER_NODE", "RANK", "MASTER_ADDR", "SLURM_CONF", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "mine")
    stand_in(commands, "sbatch", f'env > {commands}/seen; echo "$@" > {commands}/asked; echo "41;cluster"')
    assert queue.submit(["--array=0-3", "submit.sh", "0"]) == "41"
    assert (commands / "asked").read_text() == "--parsable --array=0-3 submit.sh 0\n"
    seen = {line.partition("=")[0] for line in (commands / "seen").read_text().splitlines()}
    assert {"SLURM_CONF", "SBATCH_ACCOUNT"} <= seen
    assert not {"SLURM_MEM_PER_NODE", "RANK", "MASTER_ADDR"} & seen


def test_what_slurm_refuses_is_one_line(commands: Path) -> None:
    stand_in(commands, "sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    with pytest.raises(InputError, match="sbatch: sbatch: error: invalid partition specified: x"):
        queue.submit([])


def test_a_controller_that_does_not_answer_is_one_line_that_says_where_to_go(commands: Path) -> None:
    lines = "squeue: error: fetch_config: DNS SRV lookup failed\nsqueue: fatal: Could not establish a configuration source"
    stand_in(commands, "squeue", f"echo '{lines}' >&2; exit 1")
    with pytest.raises(
        InputError,
        match=r"^hydra/launcher=slurm: expected a Slurm controller that answers squeue, came none; type",
    ):
        queue.queued()


def test_without_slurm_it_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match="expected Slurm's squeue on the path, came none; type this on a login node"
    ):
        queue.queued()


def test_nothing_to_cancel_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    queue.cancel([])
