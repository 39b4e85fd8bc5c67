"""The lock of a folder: one living process at a time, and a dead one is no obstacle."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advarch.runs import lock
from advarch.runs.lock import STALE, Busy, FolderLock, holder

HOLD = """
import sys, time
from pathlib import Path
from advarch.runs.lock import Busy, FolderLock
try:
    with FolderLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
    print("released", flush=True)
except Busy as busy:
    print(f"busy: {busy}", flush=True)
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        process.kill()
        process.communicate()


def hand_over(process: subprocess.Popen) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_second_process_is_told_who_holds_the_folder_until_the_first_lets_go(tmp_path: Path) -> None:
    first = start(HOLD, tmp_path)
    try:
        assert said(first) == "held"
        assert holder(tmp_path) == f"{socket.gethostname()}:{first.pid}"
        second = start(HOLD, tmp_path)
        assert said(second).startswith(
            f"busy: {tmp_path} is in the hands of {socket.gethostname()}:{first.pid}; wait"
        )
        finish(second)
        with pytest.raises(Busy), FolderLock(tmp_path):
            raise AssertionError("entered")
        hand_over(first)
        assert said(first) == "released" and holder(tmp_path) is None
        with FolderLock(tmp_path):
            assert holder(tmp_path) == f"{socket.gethostname()}:{os.getpid()}"
    finally:
        finish(first)


def test_a_killed_holder_is_pushed_aside_at_once(tmp_path: Path) -> None:
    first = start(HOLD, tmp_path)
    assert said(first) == "held"
    first.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while holder(tmp_path) is not None and time.monotonic() < deadline:
        time.sleep(0.01)  # not reaped yet: a zombie holds nothing either
    assert first.returncode is None and (tmp_path / ".lock").exists()
    began = time.monotonic()
    with FolderLock(tmp_path):
        assert time.monotonic() - began < STALE / 2
        assert holder(tmp_path) == f"{socket.gethostname()}:{os.getpid()}"
    finish(first)


def test_an_exception_lets_go_and_leaves_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyError), FolderLock(tmp_path / "new"):
        raise KeyError
    assert [p.name for p in (tmp_path / "new").iterdir() if p.name != ".lock.guard"] == []
    with FolderLock(tmp_path / "new"):
        pass


def someone(folder: Path, *, host: str, pid: int, started: str | None, age: float = 0.0) -> None:
    path = folder / ".lock"
    path.write_text(json.dumps({"host": host, "pid": pid, "started": started}))
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize(
    ("age", "alive"), [(0.0, True), (STALE - 10, True), (STALE + 10, False), (1e6, False)]
)
def test_a_holder_on_another_machine_is_judged_by_its_last_sign_of_life(
    tmp_path: Path, age: float, alive: bool
) -> None:
    someone(tmp_path, host="elsewhere", pid=os.getpid(), started="1", age=age)
    assert holder(tmp_path) == (f"elsewhere:{os.getpid()}" if alive else None)
    if alive:
        with pytest.raises(Busy, match="elsewhere"), FolderLock(tmp_path):
            raise AssertionError("entered")
    else:
        with FolderLock(tmp_path):
            assert holder(tmp_path) == f"{socket.gethostname()}:{os.getpid()}"


def test_a_reused_process_number_is_not_the_old_holder(tmp_path: Path) -> None:
    mine = lock._started(os.getpid())
    someone(tmp_path, host=socket.gethostname(), pid=os.getpid(), started=mine)
    assert holder(tmp_path) is not None
    someone(tmp_path, host=socket.gethostname(), pid=os.getpid(), started=f"{mine}0")
    assert holder(tmp_path) is None


def test_an_old_lock_of_a_living_process_on_this_machine_still_holds(tmp_path: Path) -> None:
    someone(tmp_path, host=socket.gethostname(), pid=os.getpid(), started=lock._started(os.getpid()), age=1e6)
    assert holder(tmp_path) == f"{socket.gethostname()}:{os.getpid()}"


@pytest.mark.parametrize("text", ["", "{", "nonsense"])
def test_a_damaged_lock_holds_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    assert holder(tmp_path) is None
    with FolderLock(tmp_path):
        assert holder(tmp_path) is not None


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.02)
    with FolderLock(tmp_path):
        os.utime(tmp_path / ".lock", (0, 0))
        deadline = time.monotonic() + 5
        while (tmp_path / ".lock").stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / ".lock").stat().st_mtime < 5


MANY = """
import os, sys, time
from pathlib import Path
from advarch.runs.lock import Busy, FolderLock
folder, times = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
held, until = 0, time.monotonic() + 60
while held < times and time.monotonic() < until:
    try:
        with FolderLock(folder):
            # Nobody else may be inside: the folder of this name can be made by one only.
            os.mkdir(folder / "inside")
            held += 1
            time.sleep(0.002)
            if held % 5 == 0 and len(sys.argv) > 3:
                os.rmdir(folder / "inside")
                os._exit(9)
            os.rmdir(folder / "inside")
    except Busy:
        pass
print(held, flush=True)
"""


def test_of_many_processes_at_once_exactly_one_is_inside_at_any_time(tmp_path: Path) -> None:
    times = 80
    # Two of them die while they hold the lock.
    processes = [start(MANY, tmp_path, times, *(["dies"] if n < 2 else [])) for n in range(5)]
    try:
        for process in processes:
            assert said(process) == "ready"
        for process in processes:
            hand_over(process)
        held = [said(process) for process in processes]
        codes = [process.wait() for process in processes]
        assert codes == [9, 9, 0, 0, 0], "someone was inside together with another"
        assert sum(int(count) for count in held if count) == 3 * times, "someone waited in vain"
    finally:
        finish(*processes)


def test_a_lock_taken_between_another_s_look_and_removal_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A looks and finds nobody, C takes the lock, A removes what it finds: then both are inside."""
    someone(tmp_path, host="elsewhere", pid=1, started="1", age=1e6)
    others = []
    look = lock.holder

    def slow_look(folder: Path) -> str | None:
        found = look(folder)
        if found is None and not others:
            (folder / ".lock").unlink(missing_ok=True)  # as its holder does when it lets go
            others.append(start(HOLD, folder))
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline and look(folder) is None:
                time.sleep(0.02)
        return found

    monkeypatch.setattr(lock, "holder", slow_look)
    try:
        with FolderLock(tmp_path):
            monkeypatch.setattr(lock, "holder", look)
            assert said(others[0]).startswith("busy"), "two processes hold the folder"
    except Busy:
        assert said(others[0]) == "held"
    finally:
        finish(*others)


def test_a_holder_that_was_pushed_aside_does_not_remove_its_successor_s_lock(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        # This process was silent for long (a suspended machine), and another one elsewhere took over.
        (tmp_path / ".lock").unlink()
        someone(tmp_path, host="elsewhere", pid=1, started="1")
    assert holder(tmp_path) == "elsewhere:1"
