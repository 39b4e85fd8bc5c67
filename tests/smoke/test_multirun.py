"""A multirun through the real command line: a job that fails stops nobody, W&B gets one closed run per job, nothing runs twice."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from tests.smoke.command import finished

SMALL = [
    "dataset.limit=150",
    "dataset.batch_size=50",
    "backbone.depths=[1,0,0]",
    "backbone.widths=[0.25,1,1]",
    "attack.steps=1",
    "trainer.max_epochs=2",
    "trainer.threads=1",
    "evaluation.attacks.pgd20.steps=2",
]


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of an offline run: blocks of 32 KiB holding chunks (checksum, length, type), LevelDB's log format."""
    data, position, buffer = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if length == 0 and kind == 0:
            position += left
            continue
        buffer += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(buffer)
            buffer = b""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("multirun")
    arguments = ["-m", *SMALL, "logger=wandb", "optimizer.lr=0.1,1e30"]
    return {"root": root} | {turn: finished(root, root / turn, *arguments) for turn in ("first", "again")}


@pytest.mark.xdist_group("multirun")
def test_a_failed_job_is_named_and_the_other_one_ends_well(outcome: dict[str, Any]) -> None:
    code, out, err = outcome["first"]
    assert code == 1, err
    assert "2 jobs: 0 done already, 2 to run" in out
    assert "1 done, 1 failed" in out
    assert "non-finite loss" in err
    states = {}
    for path in outcome["root"].glob("outputs/single/*/status.json"):
        stages = json.loads(path.read_text())["stages"]
        states[path.parent.name] = {name: stage["state"] for name, stage in stages.items()}
    assert sorted(map(str, states.values())) == sorted(
        map(str, [{"train": "done", "evaluate": "done"}, {"train": "failed"}])
    )


@pytest.mark.xdist_group("multirun")
def test_running_again_runs_only_what_is_missing(outcome: dict[str, Any]) -> None:
    code, out, _ = outcome["again"]
    assert code == 1
    assert "2 jobs: 1 done already, 1 to run" in out
    folders = list(outcome["root"].glob("outputs/single/*"))
    assert len(folders) == 2
    attempts = sorted(
        json.loads((folder / "status.json").read_text())["stages"]["train"]["attempts"] for folder in folders
    )
    assert attempts == [1, 2]


@pytest.mark.xdist_group("multirun")
def test_each_job_is_one_closed_offline_wandb_run(outcome: dict[str, Any]) -> None:
    exits: dict[str, list[int]] = {}
    steps: dict[str, list[int]] = {}
    for path in outcome["root"].glob("outputs/single/*/wandb/offline-run-*/run-*.wandb"):
        every = list(wandb_records(path))
        records = {record.WhichOneof("record_type"): record for record in every}
        run = records["run"].run
        steps[path.parents[2].name] = [
            record.history.step.num for record in every if record.WhichOneof("record_type") == "history"
        ]
        assert run.run_group == "single"
        assert run.display_name == path.parents[2].name
        keys = {item.key for item in run.config.update}
        assert {"dataset", "backbone", "threat", "optimizer", "seed"} <= keys
        exits.setdefault(path.parents[2].name, []).append(records["exit"].exit.exit_code)
        assert (run.job_type, list(run.tags)) == ("train+evaluate", ["pgd_at", "wide_resnet", "digits"])
    assert sorted(exits.values()) == [[0], [1, 1]]
    assert sorted(steps.values()) == [[], [1, 2, 3, 4]], "two epochs, then what training and evaluation show"


@pytest.mark.xdist_group("multirun")
def test_w_and_b_is_given_the_pictures_and_the_table_and_no_other_file(outcome: dict[str, Any]) -> None:
    kinds, files = set(), set()
    for path in outcome["root"].glob("outputs/single/*/wandb/offline-run-*/run-*.wandb"):
        for record in wandb_records(path):
            kinds.add(record.WhichOneof("record_type"))
            files |= {re.sub(r"_\d+_\w+", "", file.path) for file in record.files.files}
            assert not record.run.git.commit and record.artifact.type in ("", "run_table")
    assert files == {"media/images/curves.png", "media/images/gallery.png", "media/table/attacks.table.json"}
    assert not kinds & {"output", "output_raw", "stats", "environment"}, "no console, no machine"
