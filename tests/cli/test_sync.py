"""`advarch sync` sends every attempt once, those of a run in their order, and nothing that is still being written."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from advarch.cli import sync as verb
from advarch.cli.sync import sync
from advarch.errors import InputError
from advarch.runs.lock import FolderLock


def attempt(run: Path, started: str, *, online: bool = False) -> Path:
    file = run / "wandb" / f"{'' if online else 'offline-'}run-{started}-abcd" / "run-abcd.wandb"
    file.parent.mkdir(parents=True)
    file.touch()
    return file


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that W&B is called with; it leaves its mark beside all but what is named `lost`."""
    lines: list[list[str]] = []

    def run(line: list[str], **given: Any) -> None:
        lines.append(line[1:])
        for path in line[4:]:
            if "lost" not in path:
                Path(f"{path}.synced").touch()

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(verb, "has_login", lambda: True)
    return lines


def test_what_was_sent_is_not_sent_again(tmp_path: Path, sent: list[list[str]], capsys: Any) -> None:
    second = attempt(tmp_path / "demo" / "a", "20260102_000000")
    first = attempt(tmp_path / "demo" / "a", "20260101_000000")
    other = attempt(tmp_path / "single" / "b", "20260101_000000")
    attempt(tmp_path / "single" / "b", "20260102_000000", online=True)
    assert sync([str(tmp_path), "dry_run=true"]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/demo/a: 2 attempts\n{tmp_path}/single/b: 1 attempt\n" in out
    assert "3 attempts to send, 0 sent before, 0 still being written" in out and sent == []
    assert sync([str(tmp_path)]) == 0
    assert sent == [["-m", "wandb", "sync", str(first), str(second), str(other)]]
    assert "3 of 3 attempts sent" in capsys.readouterr().out
    assert sync([str(tmp_path)]) == 0
    assert len(sent) == 1 and "0 attempts to send, 3 sent before" in capsys.readouterr().out


def test_a_run_that_is_being_worked_on_waits(tmp_path: Path, sent: list[list[str]], capsys: Any) -> None:
    attempt(tmp_path / "a", "20260101_000000")
    with FolderLock(tmp_path / "a"):
        assert sync([str(tmp_path)]) == 0
    assert (
        sent == [] and "0 attempts to send, 0 sent before, 1 still being written" in capsys.readouterr().out
    )


def test_what_did_not_arrive_is_counted(tmp_path: Path, sent: list[list[str]], capsys: Any) -> None:
    for name in ("kept", "lost"):
        attempt(tmp_path / name, "20260101_000000")
    assert sync([f"outputs={tmp_path}"]) == 1
    assert "1 of 2 attempts sent" in capsys.readouterr().out


def test_without_a_login_nothing_is_started(tmp_path: Path, sent: list[list[str]], monkeypatch: Any) -> None:
    attempt(tmp_path / "a", "20260101_000000")
    monkeypatch.setattr(verb, "has_login", lambda: False)
    with pytest.raises(InputError, match="expected a login to W&B, came none; type wandb login"):
        sync([str(tmp_path)])
    assert sent == []


@pytest.mark.parametrize("typed", [["nowhere"], ["a", "b"], ["dryrun=true"]])
def test_other_words_are_refused(typed: list[str]) -> None:
    with pytest.raises(InputError, match="sync: expected"):
        sync(typed)
