"""The processes of one job, with stand-ins: what they are told, and that none outlives another."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from advarch.errors import InputError
from advarch.launch import ranks
from advarch.launch.ranks import (
    ALONE,
    Ended,
    Place,
    clean,
    environments,
    here,
    supervise,
)
from advarch.launch.signals import INTERRUPTED, StopRequest

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
(folder / f"env{rank}").write_text(json.dumps(dict(os.environ)))
(folder / f"pid{rank}").write_text(str(os.getpid()))
exec(sys.argv[2])
(folder / f"ended{rank}").touch()
"""


def command(folder: Path, script: str) -> list[str]:
    return [sys.executable, "-S", "-c", STAND_IN, str(folder), script]


def run(folder: Path, script: str, count: int = 3) -> Ended:
    return supervise(command(folder, script), environments(count, 1, os.environ))


def test_each_process_is_told_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "GROUP_RANK"):
        monkeypatch.setenv(name, "3")
    before = dict(os.environ)
    assert run(tmp_path, "pass") == Ended(0, 0)
    seen = [json.loads((tmp_path / f"env{rank}").read_text()) for rank in range(3)]
    assert [here(each) for each in seen] == [Place(rank, 3, rank) for rank in range(3)]
    assert len({each["MASTER_PORT"] for each in seen}) == 1
    for each in seen:
        assert each["MASTER_ADDR"] == "127.0.0.1" and each["OMP_NUM_THREADS"] == "2"
        assert not {"SLURM_PROCID", "SLURM_NTASKS", "GROUP_RANK"} & set(each)
    assert dict(os.environ) == before, "nothing stays for the next job"


def test_two_machines_share_the_ranks() -> None:
    given = {"NODE_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500", "OMP_NUM_THREADS": "1"}
    found = environments(4, 2, given)
    assert [here(each) for each in found] == [Place(4 + local, 8, local) for local in range(4)]
    assert {(each["MASTER_ADDR"], each["MASTER_PORT"]) for each in found} == {("node0", "29500")}


def test_several_machines_need_to_know_which_this_is() -> None:
    with pytest.raises(InputError, match=r"trainer\.num_nodes: .*came none of MASTER_ADDR, MASTER_PORT; run"):
        environments(4, 2, {"NODE_RANK": "0"})


def test_places_by_torchrun_by_srun_and_alone() -> None:
    assert here({}) == ALONE == Place(0, 1, 0)
    assert here({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Place(5, 8, 1)
    step = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    assert here(step) == Place(3, 4, 1)
    # In a batch script nobody has been started beside this process yet.
    assert here({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}) == ALONE
    assert clean({**step, "HOME": "/h"}) == {"HOME": "/h"}


def gone(folder: Path, count: int = 3) -> bool:
    return not any(Path(f"/proc/{(folder / f'pid{rank}').read_text()}").exists() for rank in range(count))


@pytest.mark.parametrize(
    ("death", "code"), [("os.kill(os.getpid(), 9)", -9), ("sys.exit(1)", 1), ("sys.exit(2)", 2)]
)
def test_when_one_dies_the_others_do_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: str, code: int
) -> None:
    monkeypatch.setitem(ranks.LAST_WORDS, False, 0.3)
    # The one dies once the others are up: killed before that, they would have left no number.
    script = f"""
if rank != 1:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"up{{rank}}").touch()
    time.sleep(120)
for _ in range(2400):
    if all((folder / f"up{{other}}").exists() for other in (0, 2)):
        break
    time.sleep(0.05)
{death}
"""
    began = time.monotonic()
    assert run(tmp_path, script) == Ended(code, 1)
    assert time.monotonic() - began < 60 and gone(tmp_path)


def test_the_others_may_say_a_last_word(tmp_path: Path) -> None:
    assert run(tmp_path, "sys.exit(1) if rank == 2 else time.sleep(0.5)") == Ended(1, 2)
    assert (tmp_path / "ended0").exists() and (tmp_path / "ended1").exists()


def test_a_process_that_is_done_stops_nobody(tmp_path: Path) -> None:
    assert run(tmp_path, "time.sleep(0.5 if rank == 0 else 0)") == Ended(0, 0)
    assert (tmp_path / "ended0").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
@pytest.mark.parametrize("listening", [True, False])
def test_signals_are_handed_on(tmp_path: Path, number: int, listening: bool) -> None:
    before = signal.getsignal(number)
    code = 130 if number == signal.SIGINT else INTERRUPTED
    # In short naps: Python sees a signal that comes just before it sleeps only when it wakes.
    script = "(folder / f'up{rank}').touch()\nfor _ in range(2400):\n    time.sleep(0.05)"
    if listening:
        script = f"signal.signal({int(number)}, lambda *_: sys.exit({code})); " + script
    else:
        script = f"signal.signal({int(number)}, signal.SIG_DFL); " + script

    def tell() -> None:
        while not all((tmp_path / f"up{rank}").exists() for rank in range(3)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=tell)
    thread.start()
    assert run(tmp_path, script).code == code
    thread.join()
    assert gone(tmp_path) and signal.getsignal(number) == before


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_signal_while_they_are_started_ends_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    plain, started = subprocess.Popen, []

    def told_meanwhile(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        process = plain(*arguments, **options)
        started.append(process)
        if len(started) == at + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(ranks.subprocess, "Popen", told_meanwhile)
    began = time.monotonic()
    try:
        # As a job listens; its handlers are those that are put back.
        with StopRequest().listening():
            before = signal.getsignal(signal.SIGTERM)
            assert run(tmp_path, "for _ in range(2400):\n    time.sleep(0.05)").code == INTERRUPTED
            assert signal.getsignal(signal.SIGTERM) == before
        assert len(started) == 3 and all(process.poll() is not None for process in started)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("given", "lowest", "highest"), [("2048\t65535\n", 1024, 2047), ("1024 60999", 61000, 65535)]
)
def test_the_port_is_none_that_a_connection_may_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, lowest: int, highest: int
) -> None:
    (tmp_path / "range").write_text(given)
    monkeypatch.setattr(ranks, "GIVEN", tmp_path / "range")
    ports = [int(environments(1, 1, {})[0]["MASTER_PORT"]) for _ in range(20)]
    assert all(lowest <= port <= highest for port in ports) and len(set(ports)) > 1


@pytest.mark.parametrize("given", [None, "", "1024 65535"])
def test_where_no_port_is_known_to_be_apart_it_is_any_free_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    if given is not None:
        (tmp_path / "range").write_text(given)
    monkeypatch.setattr(ranks, "GIVEN", tmp_path / "range")
    assert int(environments(1, 1, {})[0]["MASTER_PORT"]) >= 1024
