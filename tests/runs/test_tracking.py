"""W&B is told what the config asks for and nothing else, in steps that only rise; whatever it raises, the run goes on."""

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from advarch.records import RunStatus, StageStatus
from advarch.runs import tracking
from advarch.runs.folder import RunFolder
from advarch.runs.steps import closing_step, epoch_step
from advarch.runs.tracking import NoTracker, Tracker, open_tracker, tags

CONFIG: dict[str, Any] = {
    "seed": 0,
    "stages": ["train", "evaluate"],
    "trainer": {"max_epochs": 3},
    "search": {"name": "none"},
    "logger": {"kind": "wandb", "project": "p", "entity": "team"},
    "sweep": {"name": "nadar-table1", "method": "PGD-7", "points": [1], "published": [{"row": "PGD-7"}]},
    "choices": {"sweep": "nadar/table1", "method": "nadar_pgd7", "defense": "pgd_at", "backbone": "wide_resnet",
                "dataset": "cifar10", "search": "none", "scale": "small"},
}  # fmt: skip
FOLDER = "nadar-table1/cifar10-wide_resnet-s0-0123abcd"


class Stand:
    """A W&B that notes what it is told, and raises at the calls named."""

    def __init__(self, *broken: str) -> None:
        self.broken, self.told = broken, list[tuple[str, Any]]()
        self.summary = SimpleNamespace(update=lambda values: self.call("summary", values))
        self.id, self.closed = "0123abcd-nadar-table1", 0

    def call(self, name: str, *what: Any) -> Any:
        self.told.append((name, what))
        if name in self.broken or "all" in self.broken:
            raise ConnectionError(f"no answer to\n{name}")
        return self

    def init(self, **given: Any) -> Any:
        return self.call(f"init {given['mode']}", given)

    def log(self, values: dict[str, Any], step: int, commit: bool) -> None:
        assert commit, "a kill loses what W&B keeps until the next row"
        self.call("log", values, step)

    def finish(self, exit_code: int) -> None:
        self.call("finish", exit_code)

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self.call(name, *given, named)


def opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stand: Any, mode: str | None = "offline"
) -> Tracker:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setitem(sys.modules, "wandb", stand)
    return open_tracker(tmp_path / FOLDER, CONFIG)


def every_call(tracker: Tracker) -> None:
    tracker.log({"val_clean": 0.5}, step=1)
    tracker.summarise({"best/lipschitz/network": 2.0})
    tracker.show(
        {"best/clean": 0.5},
        {"curves": Path("curves.png")},
        {"attacks": [{"attack": "clean"}], "none": []},
        step=4,
    )
    tracker.keep("model", [Path("model.safetensors")])
    tracker.finish(0)


def test_a_run_is_named_by_its_folder_and_filed_under_its_sweep(monkeypatch, tmp_path) -> None:
    stand = Stand()
    every_call(opened(monkeypatch, tmp_path, stand))
    ((given,),) = [what for name, what in stand.told if name == "init offline"]
    assert (given["id"], given["group"]) == ("0123abcd-nadar-table1", "nadar-table1")
    assert (given["job_type"], given["resume"]) == ("train+evaluate", "allow")
    assert given["tags"] == [
        "nadar",
        "nadar/table1",
        "PGD-7",
        "nadar_pgd7",
        "pgd_at",
        "wide_resnet",
        "cifar10",
        "small",
    ]
    assert (
        given["config"]["sweep"] == {"name": "nadar-table1", "method": "PGD-7"}
        and given["config"]["seed"] == 0
    )
    assert [what[1] for name, what in stand.told if name == "log"] == [1, 4]
    assert [name for name, _ in stand.told][-2:] == ["log_artifact", "finish"]
    assert tags({"choices": {"sweep": "none", "scale": "paper", "dataset": "d" * 99}}) == ["d" * 64]


def test_nothing_is_collected_that_was_not_told_and_nobody_waits_long(monkeypatch, tmp_path) -> None:
    stand = Stand()
    opened(monkeypatch, tmp_path, stand)
    told = dict(stand.told)
    given = told["Settings"][-1]
    assert given["disable_code"] and given["disable_git"] and given["console"] == "off"
    assert given["x_disable_meta"] and given["x_disable_stats"] and not given["x_save_requirements"]
    assert told["init offline"][0]["save_code"] is False
    assert 0 < given["finish_timeout"] <= 30 and given["init_timeout"] <= 60
    # Where a server is asked, less.
    opened(monkeypatch, tmp_path, stand, "online")
    asked = dict(stand.told)["Settings"][-1]
    assert asked["init_timeout"] + asked["login_timeout"] <= 20


@pytest.mark.parametrize(
    "broken", ["log", "summary", "Image", "Table", "Artifact", "add_file", "log_artifact", "finish", "all"]
)
def test_whatever_w_and_b_raises_the_run_goes_on_and_it_is_said_once(
    monkeypatch, tmp_path, capsys, broken
) -> None:
    stand = Stand(broken)
    every_call(opened(monkeypatch, tmp_path, stand))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("advarch: warning: W&B: ConnectionError: no answer to ")
    assert said[0].endswith("the run goes on without it")
    names = [name for name, _ in stand.told]
    if broken in names:
        # Nothing more is sent, but what was sent is closed.
        assert set(names[names.index(broken) + 1 :]) <= {"finish"} and names[-1] == "finish"


def test_without_the_package_the_run_goes_on(monkeypatch, tmp_path, capsys) -> None:
    assert isinstance(opened(monkeypatch, tmp_path, None), NoTracker)
    assert "the run goes on without it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "login", "broken", "tried"),
    [
        (None, False, (), ["init offline"]),
        (None, True, (), ["init online"]),
        (None, True, ("init online",), ["init online", "teardown", "init offline"]),
        ("online", False, ("init online", "teardown"), ["init online", "teardown", "init offline"]),
        ("offline", True, ("init offline",), ["init offline"]),
        ("disabled", True, ("init disabled",), ["init disabled"]),
    ],
)
def test_modes(monkeypatch, tmp_path, capsys, mode, login, broken, tried) -> None:
    monkeypatch.setattr(tracking, "has_login", lambda: login)
    stand = Stand(*broken)
    opened(monkeypatch, tmp_path, stand, mode)
    assert [name for name, _ in stand.told if name.startswith(("init", "teardown"))] == tried
    assert len(capsys.readouterr().err.splitlines()) == bool(broken)


def test_a_login_is_a_key_a_token_or_a_line_of_netrc_for_the_host_with_its_port(
    monkeypatch, tmp_path
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "netrc"
    file.write_text("machine wandb.lab:8080 login user password x\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    assert not tracking.has_login()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.lab:8080")
    assert tracking.has_login()


def test_steps_rise_from_the_search_to_the_last_attempt(tmp_path) -> None:
    config = CONFIG | {"search": {"name": "racl", "epochs": 2}}
    folder = RunFolder(tmp_path)
    told = [epoch_step(config, "search", epoch) for epoch in (1, 2)] + [
        closing_step(folder, config, "search")
    ]
    told += [epoch_step(config, "train", epoch) for epoch in (1, 2, 3)] + [
        closing_step(folder, config, "train")
    ]
    for evaluated, analysed, stage in ((1, 0, "evaluate"), (1, 1, "analyse"), (2, 1, "evaluate")):
        attempts = {
            "evaluate": StageStatus("running", attempts=evaluated),
            "analyse": StageStatus(attempts=analysed),
        }
        folder._write_status(RunStatus(attempts))
        told.append(closing_step(folder, config, stage))
    assert told == list(range(1, 11))
    assert [epoch_step(CONFIG, "train", epoch) for epoch in (1, 2)] == [1, 2]
    assert epoch_step(CONFIG | {"search": {"name": "random"}}, "train", 1) == 2


@pytest.mark.slow
def test_where_no_server_answers_the_run_is_recorded_offline_after_one_bounded_try(
    monkeypatch, tmp_path, capfd
) -> None:
    import wandb

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SERVICE", f"3-{os.getpid()}-unix-{tmp_path}/of-a-process-that-ended")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(tracking.SETTINGS, "init_timeout", 0.5)
    tried, init = [], wandb.init
    monkeypatch.setattr(wandb, "init", lambda **given: tried.append(given["mode"]) or init(**given))
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    tracker = open_tracker(folder, CONFIG)
    tracker.log({"val_clean": 0.5}, step=1)
    tracker.finish(0)
    wandb.teardown()
    assert tried == ["online", "offline"]
    assert capfd.readouterr().err.count("recorded offline, advarch sync sends it later") == 1
    assert len(list(folder.glob("wandb/offline-run-*/run-0123abcd-nadar-table1.wandb"))) == 1
