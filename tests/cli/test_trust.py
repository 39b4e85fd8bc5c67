"""A user's own package: named on the command line it may be used, handed on to the jobs; a config can't name it for itself."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from advarch.cli import run
from advarch.cli.main import main
from advarch.launch import local
from advarch.runs import binding, trust

MINE = "from advarch.metrics.measured import Measured\n\ndef ones(model, x, y, *, count: int = 1) -> Measured:\n    return Measured({'count': count})\n"
MEASURE = "+analysis.measures.mine={_target_: mine_of_a_user.ones, _partial_: true}"
SMALL = ["backbone.depths=[1,0,0]", "backbone.widths=[1,1,1]", "stages=[analyse]"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The lines that would start jobs; mine_of_a_user.py lies in the folder where the command is typed."""
    (tmp_path / "mine_of_a_user.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trust, "_own", [])
    monkeypatch.setattr(sys, "path", sys.path[:])
    lines: list[list[str]] = []
    monkeypatch.setattr(run.os, "execv", lambda _, line: lines.append(line[3:]) or 0)
    monkeypatch.setattr(
        local, "_start", lambda worker, _: lines.append(local.command(worker.folder, worker.trust)[3:])
    )
    monkeypatch.setattr(local, "_ended", lambda worker, _: True)
    monkeypatch.setattr(local, "open_nursery", lambda environment: None)
    return lines


def test_a_config_can_t_trust_by_itself(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, MEASURE]) == 2
    assert "name your own package with --trust PACKAGE" in capsys.readouterr().err
    for key in ("trust", "hydra.trust", "hydra.launcher.trust"):
        assert main([*SMALL, MEASURE, f"++{key}=[mine_of_a_user]"]) == 2
    assert started == [] and trust.own() == ()


@pytest.mark.parametrize(
    "verb", [["run"], ["plan"], ["plan", "sizes=false"], ["attack", "model=timm:resnet18"]]
)
def test_a_name_that_is_not_trusted_is_refused_before_anything_is_imported(
    verb: list[str],
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def imported(name: str) -> None:
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr(binding, "_BOUND", {})
    monkeypatch.setattr(trust, "importlib", SimpleNamespace(import_module=imported))
    # What is None there can't be imported.
    monkeypatch.setitem(sys.modules, "advarch.runs.build", None)  # type: ignore[arg-type]
    assert main([*verb, MEASURE]) == 2
    assert "name your own package with --trust PACKAGE" in capsys.readouterr().err


def test_what_the_command_line_trusts_is_checked_and_handed_on_to_the_job(started: list[list[str]]) -> None:
    main([*SMALL, "--trust", "mine_of_a_user", MEASURE])
    ((folder, *flags),) = started
    assert flags == ["--trust=mine_of_a_user"] and Path(folder, "config.yaml").is_file()
    assert main([*SMALL, "--trust=mine_of_a_user", MEASURE, "+analysis.measures.mine.count=x"]) == 2


def test_a_multirun_hands_it_on_to_its_workers(started: list[list[str]]) -> None:
    main(["--trust", "mine_of_a_user", "run", "-m", *SMALL, MEASURE, "seed=0,1"])
    assert [flags for _, *flags in started] == [["--trust=mine_of_a_user"]] * 2


def test_no_name_is_bad_input(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--trust"]) == 2
    assert "--trust: expected the name of a package" in capsys.readouterr().err
