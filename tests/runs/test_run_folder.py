"""Run folders: the state of a run, what is missing of an evaluation, one folder for one experiment."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advarch import records
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.records import AttackResult, EvalRecord, Progress, Size, TrainRecord
from advarch.runs import folder as folders
from advarch.runs.columns import plan
from advarch.runs.config import Config, experiment_digest
from advarch.runs.folder import Evaluation, RunFolder, folder_for, readable
from advarch.runs.folder import missing_columns as all_missing
from advarch.runs.lock import FolderLock


def columns(asked: Config) -> dict[str, str]:
    """Every column and its digest."""
    return {name: column.settings for name, column in plan(asked).items()}


def missing_columns(evaluation: Evaluation | None, asked: Config) -> list[tuple[str, str]]:
    """Without `worst`, which is missing exactly where one of its members is."""
    found = all_missing(evaluation, asked)
    attacks = {checkpoint for checkpoint, name in found if name not in ("clean", "worst")}
    if evaluation is not None:
        assert {checkpoint for checkpoint, name in found if name == "worst"} >= attacks
    return [pair for pair in found if pair[1] != "worst"]


def config(**changes: Any) -> dict[str, Any]:
    value = {
        "seed": 0,
        "stages": ["train", "evaluate"],
        "outputs": "outputs",
        "threat": {"norm": "inf", "eps": 0.2},
        "evaluation": {
            "checkpoints": ["best", "last"],
            "limit": None,
            "batch_size": 500,
            "attacks": {"fgsm": {"steps": 1}, "pgd20": {"steps": 20}},
        },
        "choices": {"dataset": "digits", "backbone": "wide_resnet", "defense": "pgd_at"},
    }
    return value | changes


def evaluated(folder: RunFolder, asked: dict[str, Any]) -> None:
    """Write the evaluation that this config asks for."""
    found = {
        checkpoint: EvalRecord(
            checkpoint,
            "digits",
            "inf",
            0.2,
            tuple(AttackResult(name, 3, 4, 0.1, 0.9, None, None, 4, 0.1, (), digest) for name, digest in columns(asked).items()),
        )
        for checkpoint in asked["evaluation"]["checkpoints"]
    }  # fmt: skip
    write_atomic(folder.path / "evaluation.json", records.dump(Evaluation(found)))


def finished(folder: RunFolder, asked: dict[str, Any]) -> None:
    for stage in ("train", "evaluate"):
        folder.begin(stage)
        folder.end(stage, "done")
    evaluated(folder, asked)


def test_a_folder_that_is_not_there_is_a_missing_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "none")
    assert folder.state(config()) == ("missing", "") and not folder.path.exists()
    assert folder.evaluation() is None and folder.curves() == ()


def test_a_run_goes_from_missing_over_running_to_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(config())
    assert folder.state(config())[0] == "missing"
    with FolderLock(folder.path):
        folder.begin("train")
        assert folder.state(config())[0] == "running"
        folder.end("train", "done")
        assert folder.state(config())[0] == "running"
    assert folder.state(config())[0] == "interrupted", "evaluation is still to come"
    assert folder.state(config(stages=["train"]))[0] == "done"
    folder.begin("evaluate")
    folder.end("evaluate", "done")
    assert folder.state(config())[0] == "interrupted", "there is no evaluation.json"
    evaluated(folder, config())
    assert folder.state(config()) == ("done", "")


def test_a_stage_that_says_running_while_nobody_holds_the_folder_was_interrupted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin("train")
    assert folder.status().stages["train"].state == "running"
    assert folder.state(config()) == ("interrupted", "")


def test_a_failed_run_says_why_until_it_is_started_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin("train")
    folder.end("train", "failed", "RuntimeError: out of memory")
    assert folder.state(config()) == ("failed", "RuntimeError: out of memory")
    with FolderLock(folder.path):
        assert folder.state(config()) == ("running", "")
    folder.begin("train")
    status = folder.status().stages["train"]
    assert (status.state, status.attempts, status.error, status.finished) == ("running", 2, "", None)
    assert folder.state(config())[0] == "interrupted"


def test_a_failed_evaluation_fails_only_runs_that_ask_for_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin("train")
    folder.end("train", "done")
    folder.begin("evaluate")
    folder.end("evaluate", "failed", "x")
    assert folder.state(config()) == ("failed", "x")
    assert folder.state(config(stages=["train"])) == ("done", "")


def test_times_hosts_and_attempts_are_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin("train")
    folder.end("train", "interrupted", "SystemExit")
    folder.begin("train")
    folder.end("train", "done")
    folder.begin("evaluate")
    stages = folder.status().stages
    assert stages["train"].attempts == 2 and stages["train"].error == "" and stages["evaluate"].attempts == 1
    assert stages["train"].started <= stages["train"].finished <= stages["evaluate"].started
    assert all(stage.host for stage in stages.values())


def test_nothing_is_missing_of_a_whole_evaluation_and_everything_of_none() -> None:
    everything = [(c, n) for c in ("best", "last") for n in ("clean", "fgsm", "pgd20")]
    assert missing_columns(None, config()) == everything


@pytest.fixture
def done(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    finished(folder, config())
    assert folder.state(config())[0] == "done"
    return folder


def with_attacks(**attacks: Any) -> dict[str, Any]:
    value = config()
    return {
        **value,
        "evaluation": {**value["evaluation"], "attacks": {**value["evaluation"]["attacks"], **attacks}},
    }


def test_an_attack_that_is_added_is_missing_in_every_checkpoint(done: RunFolder) -> None:
    more = with_attacks(square={"queries": 5000})
    assert missing_columns(done.evaluation(), more) == [("best", "square"), ("last", "square")]
    assert done.state(more)[0] == "interrupted" and not done.finished("evaluate", more)
    assert done.finished("train", more)


def test_an_attack_whose_settings_change_is_missing_and_the_others_are_not(done: RunFolder) -> None:
    other = with_attacks(pgd20={"steps": 20, "restarts": 5})
    assert missing_columns(done.evaluation(), other) == [("best", "pgd20"), ("last", "pgd20")]
    same = with_attacks(pgd20={"steps": 20.0, "start": None})
    assert missing_columns(done.evaluation(), same) == []


def test_an_attack_or_checkpoint_that_is_no_longer_asked_for_is_not_missed(done: RunFolder) -> None:
    less = config()
    less["evaluation"] = {**less["evaluation"], "attacks": {"fgsm": {"steps": 1}}, "checkpoints": ["best"]}
    assert missing_columns(done.evaluation(), less) == []


@pytest.mark.parametrize("change", [{"seed": 1}, {"threat": {"norm": "inf", "eps": 0.1}}])
def test_another_seed_or_radius_makes_every_column_missing(done: RunFolder, change: dict) -> None:
    assert len(missing_columns(done.evaluation(), config(**change))) == 6
    limited = config()
    limited["evaluation"] = {**limited["evaluation"], "limit": 100}
    assert len(missing_columns(done.evaluation(), limited)) == 6
    batched = config()
    batched["evaluation"] = {**batched["evaluation"], "batch_size": 7}
    assert missing_columns(done.evaluation(), batched) == []


def test_one_column_of_one_checkpoint_can_be_missing(done: RunFolder) -> None:
    found = done.evaluation()
    best = found.checkpoints["best"]
    less = replace(found, checkpoints={**found.checkpoints, "best": replace(best, results=best.results[:2])})
    assert missing_columns(less, config()) == [("best", "pgd20")]


def test_the_same_experiment_has_the_same_folder_whatever_its_label(tmp_path: Path) -> None:
    value = config(outputs=str(tmp_path))
    first = folder_for(value, "depths1-2-1")
    assert (
        first.path
        == tmp_path / "single" / f"digits-wide_resnet-pgd_at-depths1-2-1-s0-{experiment_digest(value)}"
    )
    first.write_config(value)
    for label in ("another", "", "depths1-2-1"):
        assert folder_for(value, label).path == first.path
    other = folder_for({**value, "seed": 1}, "depths1-2-1")
    assert (
        other.path != first.path and other.path.name.rpartition("-")[2] != first.path.name.rpartition("-")[2]
    )


def test_a_sweep_has_a_folder_of_its_own(tmp_path: Path) -> None:
    value = config(outputs=str(tmp_path), sweep={"name": "demo"})
    assert folder_for(value).path.parent == tmp_path / "demo"
    assert folder_for(value).path.name == folder_for({**value, "sweep": None}).path.name


def test_a_name_is_readable_and_safe_for_any_file_system() -> None:
    assert readable(config(seed=3), "eps0.1") == "digits-wide_resnet-pgd_at-eps0.1-s3"
    assert readable(config(seed=3), "lr1e+30") == "digits-wide_resnet-pgd_at-lr1e+30-s3", (
        "1e-30 is another number"
    )
    found = readable(config(choices=None), "../a/b: c*?\n$x")
    assert set(found) <= set("abcx-.s0") and not found.startswith(("-", "/"))
    assert len(readable(config(), "x" * 500)) <= 120


def test_the_config_is_written_once_and_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match=r"config\.yaml"):
        folder.config()
    folder.write_config(config())
    assert folder.config() == config()
    before = folder.config_path.stat().st_mtime_ns
    folder.write_config(config())
    assert folder.config_path.stat().st_mtime_ns == before
    folder.write_config(config(seed=1))
    assert folder.config()["seed"] == 1


def test_progress_is_written_at_most_once_a_second_and_ends_with_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(folders.time, "monotonic", lambda: now[0])
    folder = RunFolder(tmp_path)
    folder.begin("train")
    for step, seconds in ((1, 0.0), (2, 0.4), (3, 0.4), (4, 0.1)):
        now[0] += seconds
        folder.report(Progress("train", step, 9, "step"))
    assert folder.status().progress.step == 1
    now[0] += 1
    folder.report(Progress("train", 5, 9, "step"))
    assert folder.status().progress.step == 5 and folder.status().stages["train"].state == "running"
    folder.end("train", "done")
    assert folder.status().progress is None


def test_a_record_gathers_what_reports_read(done: RunFolder) -> None:
    done.write_config(config())
    write_atomic(done.path / "size.json", records.dump(Size(3, 5)))
    trained = TrainRecord(2, 1, 0.5, 0.4, 10.0, 100.0, "cpu")
    write_atomic(done.path / "train.json", records.dump(trained))
    (done.path / "metrics.csv").write_text("epoch,val_robust\n1,0.5\n2,\n")
    record = done.record()
    assert (record.state, record.name, record.size, record.train) == (
        "done",
        done.path.name,
        Size(3, 5),
        trained,
    )
    assert record.curves == ({"epoch": 1.0, "val_robust": 0.5}, {"epoch": 2.0})
    assert set(record.evaluations) == {"best", "last"} and record.config == config()
    assert record.evaluations["best"].result("clean").accuracy == 0.75
    assert record.progress is None


def test_progress_is_shown_of_a_running_stage_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(config())
    folder.begin("train")
    folder.report(Progress("train", 3, 9, "step"))
    assert folder.record().progress is None and folder.record().state == "interrupted"
    with FolderLock(folder.path):
        assert folder.record().progress == Progress("train", 3, 9, "step")


@pytest.mark.parametrize("text", [json.dumps({"schema": 99}), '{"stages":', ""])
def test_a_damaged_status_is_a_failure_that_names_the_file_and_a_new_attempt_mends_it(
    tmp_path: Path, text: str
) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "status.json").write_text(text)
    state, error = folder.state(config())
    assert state == "failed"
    assert f"{tmp_path}/status.json is damaged" in error and "delete it" in error
    folder.write_config(config())
    assert folder.record().state == "failed"
    folder.begin("train")
    assert folder.status().stages["train"].state == "running"


def test_a_damaged_evaluation_is_a_failure_and_is_computed_anew(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(config())
    for stage in config()["stages"]:
        folder.begin(stage)
        folder.end(stage, "done")
    (tmp_path / "evaluation.json").write_text("garbage")
    record = folder.record()
    assert record.state == "failed" and "evaluation.json is damaged" in record.error
    assert not folder.finished("evaluate", config())
