"""On the real command line: two processes per job, one of them killed, all told to stop, Ctrl-C in a multirun, no room to write."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advarch.launch.signals import INTERRUPTED
from tests.smoke.command import Command, finished, start
from tests.smoke.test_multirun import wandb_records

SMALL = [
    "dataset.limit=200",
    "dataset.batch_size=20",
    "backbone.depths=[1,0,0]",
    "backbone.widths=[0.25,1,1]",
    "attack.steps=2",
    "trainer.max_epochs=6",
    "validation.attack.steps=2",
    "evaluation.attacks.pgd20.steps=2",
    "evaluation.batch_size=70",
    "evaluation.probe=false",
]
EPOCHS = 12
"""Of what is to be met at work: some seconds, which may pass before its first epoch is seen here."""
TWO = [*SMALL, f"trainer.max_epochs={EPOCHS}", "trainer=ddp_cpu", "trainer.devices=2", "logger=wandb"]


def wait_for(condition: Callable[[], Any], process: Command) -> Any:
    deadline = time.monotonic() + 300
    while not (found := condition()):
        assert process.poll() is None and time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def rows(folder: Path) -> int:
    path = folder / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def stages(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "status.json").read_text())["stages"])


def children(process: Command) -> dict[int, int]:
    """Rank -> process number."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks = [int(each[5:]) for each in environment if each.startswith(b"RANK=")]
        if ranks:
            found[ranks[0]] = int(pid)
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A job of two processes: never stopped; and one killed, told to stop, and then left alone."""
    root = tmp_path_factory.mktemp("two")
    whole, stopped = root / "whole", root / "stopped"
    whole.mkdir()
    stopped.mkdir()
    found: dict[str, Any] = {"whole": finished(whole, root / "0", *TWO)}
    process = start(stopped, root / "1", *TWO)
    folder = wait_for(lambda: list(root.glob("stopped/outputs/single/*")), process)[0]
    wait_for(lambda: rows(folder) >= 1, process)
    pids = children(process)
    os.kill(pids[1], signal.SIGKILL)
    found["killed"] = (*process.ended(), stages(folder))
    found["left"] = [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()]
    done = rows(folder)
    process = start(stopped, root / "2", *TWO)
    wait_for(lambda: rows(folder) > done, process)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    found["told"] = (*process.ended(), stages(folder), time.monotonic() - began)
    found["resumed"] = finished(stopped, root / "3", *TWO)
    found["folders"] = {name: next(root.glob(f"{name}/outputs/single/*")) for name in ("whole", "stopped")}
    return found


# The time that the fixtures take counts as the first test's.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes"), pytest.mark.timeout(1800)]


def test_when_a_process_dies_the_job_fails_and_says_which(two: dict[str, Any]) -> None:
    code, _, err, status = two["killed"]
    assert code == 1
    assert "rank 1 of 2: ended by SIGKILL" in err
    assert (
        status["train"]["state"] == "failed" and "rank 1 of 2: ended by SIGKILL" in status["train"]["error"]
    )
    assert two["left"] == []


def test_told_to_stop_all_processes_save_and_the_code_says_so(two: dict[str, Any]) -> None:
    code, _, err, status, seconds = two["told"]
    assert code == INTERRUPTED and "stopped by SIGTERM; what was saved stays" in err
    assert status["train"]["state"] == "interrupted"
    assert seconds < 60, "ten seconds on a machine that does nothing else"


def test_in_the_end_the_weights_are_those_of_a_run_that_nobody_stopped(two: dict[str, Any]) -> None:
    assert two["whole"][0] == two["resumed"][0] == 0, two["resumed"][2]
    whole, stopped = two["folders"]["whole"], two["folders"]["stopped"]
    for name in ("model.safetensors", "model_last.safetensors"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()
    assert [line.split(",")[0] for line in (stopped / "metrics.csv").read_text().splitlines()] == [
        "epoch", *map(str, range(1, EPOCHS + 1)),
    ]  # fmt: skip


def test_both_processes_evaluate_and_every_image_counts_once(two: dict[str, Any]) -> None:
    for folder in two["folders"].values():
        record = json.loads((folder / "evaluation.json").read_text())["checkpoints"]["last"]
        assert {result["total"] for result in record["results"]} == {200}
        with np.load(folder / "outcomes.npz") as arrays:
            assert sorted(arrays["last/clean/index"]) == sorted(set(arrays["last/clean/index"].tolist()))
            assert (arrays["last/pgd20/correct"] >= 0).all()
        assert not list(folder.glob(".*[!d]")), "parts and errors are gone"


def test_all_attempts_are_one_wandb_run(two: dict[str, Any]) -> None:
    ids, steps = set(), []
    for path in sorted(two["folders"]["stopped"].glob("wandb/offline-run-*/run-*.wandb")):
        for record in wandb_records(path):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                steps.append(record.history.step.num)
    assert len(ids) == 1
    # An epoch whose checkpoint a kill forestalled is told twice, with the same step.
    assert steps == sorted(steps) and set(steps) == set(range(1, EPOCHS + 3))


def test_ctrl_c_stops_every_job_of_a_multirun_and_the_next_one_goes_on(tmp_path: Path) -> None:
    # Both are to be met at work: the second may begin seconds after the first.
    epochs = 30
    arguments = ["-m", *SMALL, f"trainer.max_epochs={epochs}", "seed=0,1", "hydra.launcher.workers=2"]
    process = start(tmp_path, tmp_path / "first", *arguments)

    def both() -> list[Path]:
        found = list(tmp_path.glob("outputs/single/*"))
        return found if len(found) == 2 and all(rows(folder) >= 1 for folder in found) else []

    folders = wait_for(both, process)
    os.kill(process.pid, signal.SIGINT)
    code, _, err = process.ended()
    assert code == 130 and "stopped; what was saved stays" in err
    done = []
    for folder in folders:
        states = [stage["state"] for stage in stages(folder).values()]
        assert states[-1] == "interrupted", (folder / "job.log").read_text()
        assert (folder / "checkpoints" / "last.ckpt").exists() and not (folder / ".lock").exists()
        done.append(rows(folder))
    code, out, err = finished(tmp_path, tmp_path / "again", *arguments)
    assert code == 0 and "2 done, 0 failed" in out, err
    for folder, before in zip(folders, done, strict=True):
        assert rows(folder) == epochs
        assert stages(folder)["train"]["attempts"] == 2 and before >= 1


def test_without_room_to_write_one_line_says_so(tmp_path: Path) -> None:
    code, _, err = finished(tmp_path, tmp_path / "said", *SMALL, limit=9000)
    said = [line for line in err.splitlines() if line.startswith("advarch: error")]
    assert code == 1 and len(said) == 1 and "no room to write" in said[0], err
    assert "Traceback" not in err
    (folder,) = tmp_path.glob("outputs/single/*")
    assert stages(folder)["train"]["state"] == "failed"
    assert "no room to write" in stages(folder)["train"]["error"]
    assert list((folder / "checkpoints").iterdir()) == []
