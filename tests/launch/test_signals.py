"""Told to stop: at once where nothing is at stake, at the next good moment elsewhere, but not much later."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from advarch.errors import Interrupted
from advarch.launch import signals
from advarch.launch.signals import INTERRUPTED, STOPS, StopRequest, exit_code, name_of


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    request = StopRequest()
    with request.listening():
        yield request


def told(number: int) -> None:
    """As from outside."""
    os.kill(os.getpid(), number)
    time.sleep(0.02)


@pytest.mark.parametrize("number", STOPS)
def test_outside_a_signal_stops_at_once(stop: StopRequest, number: int) -> None:
    with pytest.raises(Interrupted) as raised:
        told(number)
    assert raised.value.number == number and stop.wanted()


@pytest.mark.parametrize("number", STOPS)
def test_a_deferred_signal_waits_for_the_good_moment(stop: StopRequest, number: int) -> None:
    seen = []
    with pytest.raises(Interrupted) as raised, stop.deferred():
        told(number)
        seen.append(stop.wanted())
        told(number)  # the parent hands it on, and it comes again
        stop.check()
        seen.append("not reached")
    assert raised.value.number == number and seen == [True]


def test_a_signal_that_found_no_good_moment_stops_at_the_end(stop: StopRequest) -> None:
    seen = []
    with pytest.raises(Interrupted), stop.deferred():
        told(signal.SIGTERM)
        seen.append("to the end")
    assert seen == ["to the end"]


def test_who_has_to_wait_is_told_so_once_and_a_line_that_can_t_be_written_stops_nothing(
    stop: StopRequest,
) -> None:
    said: list[str] = []
    stop.say = said.append
    with pytest.raises(Interrupted), stop.deferred():
        told(signal.SIGINT)
        told(signal.SIGTERM)
        assert said == [signals.SAVING]
    stop.number = None
    with pytest.raises(Interrupted):
        told(signal.SIGINT)
    assert len(said) == 1, "nothing waits"

    def broken(line: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    stop.number, stop.say = None, broken
    with pytest.raises(Interrupted), stop.deferred():
        told(signal.SIGINT)
        said.append("went on")
    assert said[-1] == "went on"


def test_without_a_signal_nothing_happens(stop: StopRequest) -> None:
    with stop.deferred():
        stop.check()
    assert not stop.wanted()


def test_after_the_grace_it_stops_wherever_it_is(stop: StopRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE", 0.2)
    began = time.monotonic()
    with pytest.raises(Interrupted), stop.deferred():
        told(signal.SIGUSR1)
        # In short naps: Python sees a signal that comes just before it sleeps only when it wakes.
        for _ in range(600):
            time.sleep(0.05)
    assert time.monotonic() - began < 20


def test_where_steps_are_known_to_be_long_the_grace_is_two_of_them_and_no_more_than_the_longest(
    stop: StopRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[float] = []
    monkeypatch.setattr(signals.signal, "setitimer", lambda which, seconds: timers.append(seconds))
    for between, grace in ((1.0, 8.0), (6.0, 12.0), (60.0, 25.0)):
        clock = iter([0.0, 100.0, 100.0 + between, 200.0])
        monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=clock.__next__))
        stop.number = None
        with pytest.raises(Interrupted), stop.deferred():
            stop.moment()
            stop.moment()
            stop.moment()
            told(signal.SIGTERM)
        assert timers[0] == grace
        timers.clear()


def test_saving_may_take_longer(stop: StopRequest) -> None:
    seen = []
    with pytest.raises(Interrupted), stop.deferred():
        told(signal.SIGTERM)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= signals.GRACE
        stop.saving()
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0, "nothing is left that would end the saving"
        seen.append("saved")
    assert seen == ["saved"]


def test_a_second_ctrl_c_stops_wherever_it_is(stop: StopRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen = [100.0], []
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with pytest.raises(Interrupted), stop.deferred():
        told(signal.SIGINT)
        now[0] += 0.9
        told(signal.SIGINT)  # the same one, from the terminal and from the parent
        seen.append(1)
        now[0] += 0.2
        told(signal.SIGINT)
        seen.append(2)
    assert seen == [1]


def test_only_the_first_signal_is_raised(stop: StopRequest) -> None:
    with pytest.raises(Interrupted):
        told(signal.SIGTERM)
    told(signal.SIGTERM)
    told(signal.SIGUSR1)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (*STOPS, signal.SIGALRM)]
    request = StopRequest()
    with request.listening():
        assert signal.getsignal(signal.SIGTERM) == request._told
    assert [signal.getsignal(number) for number in (*STOPS, signal.SIGALRM)] == before


def test_a_process_ends_with_its_code_after_what_was_registered_for_its_end_and_says_all() -> None:
    code = "import atexit; from advarch.launch.signals import end_process\natexit.register(print, 'at exit')\nprint('said'); end_process(79)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (79, "said\nat exit\n", "")


def test_exit_codes() -> None:
    assert exit_code(signal.SIGINT) == 130
    assert exit_code(signal.SIGTERM) == exit_code(signal.SIGUSR1) == INTERRUPTED == 79
    assert name_of(signal.SIGUSR1) == "SIGUSR1"
