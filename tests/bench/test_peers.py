"""A peer that is not installed is said, and the row is there without it."""

import sys

import pytest
import torch

from advarch.bench import peers, training
from advarch.bench.bench import Bench
from advarch.bench.sizes import CPU, Training
from advarch.bench.timing import alternate


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peers.absent(["torchattacks", "foolbox", "pyautoattack"]) == {}
    # None makes an import of that name fail.
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    assert peers.absent(["torchattacks", "pyautoattack"]) == {
        "pyautoattack": "pyautoattack: peer not installed: pip install pyautoattack==0.2.0"
    }


def test_a_training_row_goes_on_without_torchattacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    monkeypatch.setattr(
        training,
        "alternate",
        lambda actions, rounds: {who: action() or 1.0 for who, action in actions.items()},
    )
    bench = Bench(torch.device("cpu"), CPU, print, lambda _: pytest.fail("no run is made"))
    monkeypatch.setattr(Bench, "peak", lambda self: 1e9)
    row = training.row(bench, Training("fast", "WRN-10-1", 2))
    assert list(row.ratios) == ["naive loop"]
    assert row.notes[0].startswith("torchattacks: peer not installed: pip install ")


def test_actions_take_turns_after_a_warm_up_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    times = iter([5.0, 1.0, 3.0, 1.0, 4.0, 9.0])
    monkeypatch.setattr("advarch.bench.timing.seconds", lambda action: action() or next(times))
    taken = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert taken == {"a": 4.0, "b": 1.0}


@pytest.mark.parametrize(("took", "rounds"), [(0.5, 6), (4.0, 3), (6.0, 2)])
def test_short_actions_are_repeated_more_often(
    monkeypatch: pytest.MonkeyPatch, took: float, rounds: int
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("advarch.bench.timing.seconds", lambda action: action() or took)
    alternate({"a": lambda: calls.append("a")}, 2)
    assert len(calls) == 1 + rounds
