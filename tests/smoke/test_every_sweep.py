"""`make smoke-all` tries every sweep, says how each went, and takes being stopped; the stages themselves are stood in for here."""

import os
import re
import signal

import pytest

from advarch.errors import InputError, RunFailed
from tests.contracts.test_sweeps import PAPERS
from tests.smoke import every_sweep

NAMES = ["robnet/fig7", "nadar/fig3", "racl/fig4"]


def stand_in(monkeypatch: pytest.MonkeyPatch, **failing: Exception | int) -> list[tuple[str, str]]:
    """Stages that note what they are asked for; `trained` or `reported` fails so, or sends the signal, at the second sweep."""
    asked: list[tuple[str, str]] = []

    def stage(what: str) -> None:
        def run(name: str, where: tuple[str, ...]) -> None:
            asked.append((what, name))
            wrong = failing.get(what) if name == NAMES[1] else None
            if isinstance(wrong, Exception):
                raise wrong
            if wrong is not None:
                os.kill(os.getpid(), wrong)

        monkeypatch.setattr(every_sweep, what, run)

    stage("trained")
    stage("reported")
    return asked


def test_all_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = stand_in(monkeypatch)
    assert every_sweep.main([*NAMES, "outputs=elsewhere"]) == 0
    assert asked == [(what, name) for name in NAMES for what in ("trained", "reported")]
    lines = capsys.readouterr().out.splitlines()
    said = r"2 of 3  nadar/fig3: job ok, \d+ s; report ok, \d+ s; 0 failed so far, about \d+ min to go"
    assert re.fullmatch(said, lines[1])
    assert lines[3:] == ["3 of 3 sweeps passed at scale=smoke", "none failed"]


@pytest.mark.parametrize("what", ["trained", "reported"])
@pytest.mark.parametrize("error", [RunFailed("the loss is nan"), InputError("no images"), KeyError("key")])
def test_one_that_fails_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, error: Exception
) -> None:
    asked = stand_in(monkeypatch, **{what: error})
    assert every_sweep.main(NAMES) == 1
    assert len(asked) == 6, "its report is tried though its job failed"
    lines = capsys.readouterr().out.splitlines()
    assert f"FAILED ({type(error).__name__}: {error})" in lines[1] and "1 failed so far" in lines[1]
    assert lines[3:] == ["2 of 3 sweeps passed at scale=smoke", "failed: nadar/fig3"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 79)])
def test_told_to_stop_it_starts_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    asked = stand_in(monkeypatch, trained=number)
    assert every_sweep.main(NAMES) == code
    assert asked[-1] == ("trained", NAMES[1])
    assert capsys.readouterr().out.splitlines()[-1].startswith("stopped; the same command goes on")


def test_without_names_it_is_every_sweep_of_a_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(monkeypatch)
    every_sweep.main([])
    assert len({name for _, name in asked}) == sum(PAPERS.values())


def test_an_unknown_sweep_is_refused_before_any_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = stand_in(monkeypatch)
    assert every_sweep.main(["robnet/fig7", "nadar/fig33"]) == 2 and not asked
    assert "did you mean" in capsys.readouterr().err
