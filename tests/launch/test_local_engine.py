"""The local engine with stand-in jobs: how many run at once, what they see, and how they all end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advarch.errors import Interrupted
from advarch.launch import local
from advarch.launch.local import BUSY, Crew
from advarch.launch.signals import INTERRUPTED
from advarch.runs.lock import FolderLock

# Every stand-in gets its folder as argument, notes when it began and ended, and does what the file `do` there says.
JOB = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "pid").write_text(str(os.getpid()))
(folder / "began").write_text(repr(time.monotonic()))
(folder / "environment").write_text(json.dumps(dict(os.environ)))
(folder / "arguments").write_text(json.dumps(sys.argv[2:]))
print("said by", folder.name, flush=True)
exec((folder / "do").read_text())
(folder / "ended").write_text(repr(time.monotonic()))
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(folder: Path, trust=()) -> list[str]:
        return [sys.executable, "-S", "-c", JOB, str(folder), *(f"--trust={name}" for name in trust)]

    monkeypatch.setattr(local, "command", command)
    monkeypatch.setattr(local, "open_nursery", lambda environment: None)
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(local, "gpus", list)


def jobs(root: Path, *scripts: str) -> list[Path]:
    folders = []
    for number, script in enumerate(scripts):
        folder = root / f"job{number}"
        folder.mkdir(parents=True)
        (folder / "do").write_text(script)
        folders.append(folder)
    return folders


def nothing(crew: Crew) -> None:
    del crew


def until_begun(other: str) -> str:
    """What a job does that ends only once another one has begun."""
    begun = f"(folder.parent / {other!r} / 'began').exists()"
    return f"for _ in range(2400):\n    if {begun}:\n        break\n    time.sleep(0.05)\ntime.sleep(0.1)"


def number(folder: Path, name: str) -> float:
    return float((folder / name).read_text())


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


pytestmark = pytest.mark.usefixtures("stand_in")


def test_a_job_that_fails_stops_no_other(tmp_path: Path) -> None:
    folders = jobs(
        tmp_path, "sys.exit(1)", "pass", "os.kill(os.getpid(), 9)", "raise KeyError", "pass", "sys.exit(2)"
    )
    crew = local.run(folders, workers=2, show=nothing)
    assert [w.state for w in crew.workers] == ["failed", "done", "failed", "failed", "done", "failed"]
    assert [w.folder for w in crew.workers] == folders and all(w.seconds > 0 for w in crew.workers)
    assert (folders[1] / "ended").exists() and (folders[4] / "ended").exists()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_more_than_so_many_run_at_a_time_and_all_places_are_used(tmp_path: Path, workers: int) -> None:
    # Those that begin at once are all at work when the last of them begins, however long each takes to start.
    together = [until_begun(f"job{workers - 1}")] * (workers - 1)
    folders = jobs(tmp_path, *together, *["time.sleep(0.15)"] * (5 - len(together)))
    shown = []
    crew = local.run(folders, workers=workers, show=lambda c: shown.append([w.state for w in c.workers]))
    assert crew.size == workers
    spans = [(number(f, "began"), number(f, "ended")) for f in folders]
    inside = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert max(inside) == workers
    assert max(states.count("running") for states in shown) == workers
    assert shown[-1] == ["done"] * 5
    # In order: none of the others begins before one of the first has ended.
    assert min(begin for begin, _ in spans[workers:]) >= min(end for _, end in spans[:workers])


def test_no_more_workers_than_jobs(tmp_path: Path) -> None:
    assert local.run(jobs(tmp_path, "pass"), workers=8, show=nothing).size == 1
    assert local.run([], workers=3, show=nothing).workers == []


def test_what_one_job_s_ranks_leave_in_the_environment_reaches_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = ["RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID"]
    for name in foreign:
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("ADVARCH_DATA", "/data")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    before = dict(os.environ)
    (folder,) = jobs(tmp_path, "pass")
    local.run([folder], workers=1, show=nothing)
    seen = json.loads((folder / "environment").read_text())
    assert not set(foreign) & set(seen)
    assert seen["ADVARCH_DATA"] == "/data" and seen["ADVARCH_WORKER"] == "1"
    assert seen["OMP_NUM_THREADS"] == str(os.cpu_count()) and seen["MKL_NUM_THREADS"] == "7"
    assert dict(os.environ) == before


def test_cores_are_shared_among_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local.os, "cpu_count", lambda: 8)
    folders = jobs(tmp_path, "pass", "pass", "pass")
    local.run(folders, workers=3, show=nothing)
    assert {json.loads((f / "environment").read_text())["OMP_NUM_THREADS"] for f in folders} == {"2"}


def test_threads_that_the_user_asks_for_are_those_of_the_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    (folder,) = jobs(tmp_path, "pass")
    local.run([folder], workers=1, show=nothing)
    seen = json.loads((folder / "environment").read_text())
    assert seen["OMP_NUM_THREADS"] == seen["MKL_NUM_THREADS"] == "3"


def test_each_gpu_has_one_job_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "gpus", lambda: ["0", "3"])
    # The third stays until the fourth has begun, which therefore has the other GPU, however long each takes to start.
    folders = jobs(tmp_path, until_begun("job1"), "time.sleep(0.1)", until_begun("job3"), "time.sleep(0.1)")
    assert local.run(folders, workers=None, show=nothing).size == 2
    seen = [json.loads((f / "environment").read_text())["CUDA_VISIBLE_DEVICES"] for f in folders]
    assert sorted(seen) == ["0", "0", "3", "3"]
    for one in range(4):
        for other in range(one):
            if seen[one] == seen[other]:
                assert number(folders[one], "began") >= number(folders[other], "ended")


@pytest.mark.parametrize(
    ("visible", "expected"), [("", []), ("-1", []), ("1", ["1"]), ("2,GPU-ab", ["2", "GPU-ab"])]
)
def test_visible_gpus_are_obeyed(monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local.gpus() == expected


def test_output_lies_in_the_job_s_folder_and_is_appended(tmp_path: Path) -> None:
    (folder,) = jobs(tmp_path, "print('error', file=sys.stderr)")
    for _ in range(2):
        local.run([folder], workers=1, show=nothing)
    assert (folder / "job.log").read_text() == "said by job0\nerror\n" * 2


BUSY_UNTIL_FREE = f"""
# In this order: who sees that it counted may let go of the folder.
busy, count = (folder / ".lock").exists(), folder / "count"
count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
if busy:
    sys.exit({BUSY})
"""


def test_a_folder_that_another_launch_works_on_is_waited_for_without_asking_again(tmp_path: Path) -> None:
    folder, other = jobs(tmp_path, BUSY_UNTIL_FREE, "pass")
    free = []

    def let_go() -> None:
        with FolderLock(folder):
            held.set()
            wait_for(lambda: (other / "ended").exists() and (folder / "count").exists(), seconds=60)
            time.sleep(0.1)
            free.append(time.monotonic())

    held, thread = threading.Event(), threading.Thread(target=let_go)
    thread.start()
    held.wait()
    crew = local.run([folder, other], workers=2, show=nothing)
    thread.join()
    assert [w.state for w in crew.workers] == ["done", "done"]
    assert number(folder, "began") >= free[0] and (folder / "count").read_text() == "2"


def test_a_job_that_was_waited_for_is_started_as_the_first_time(tmp_path: Path) -> None:
    (folder,) = jobs(tmp_path, BUSY_UNTIL_FREE)

    def let_go() -> None:
        with FolderLock(folder):
            held.set()
            wait_for(lambda: (folder / "count").exists(), seconds=60)
            time.sleep(0.1)

    held, thread = threading.Event(), threading.Thread(target=let_go)
    thread.start()
    held.wait()
    local.run([folder], workers=1, show=nothing, trust=("mine",))
    thread.join()
    assert (folder / "count").read_text() == "2"
    assert json.loads((folder / "arguments").read_text()) == ["--trust=mine"]


WITH_CHILD = """
import subprocess
child = subprocess.Popen([sys.executable, "-S", "-c", CHILD], stdout=subprocess.PIPE)
child.stdout.readline()
(folder / "pids.tmp").write_text(f"{os.getpid()} {child.pid}")
os.rename(folder / "pids.tmp", folder / "pids")
time.sleep(60)
"""


def stopped(tmp_path: Path, child: str) -> list[int]:
    """Run two jobs with a child each, press Ctrl-C when all are up, and give their process numbers."""
    folders = jobs(tmp_path, *[f"CHILD = {child!r}" + WITH_CHILD] * 2, "pass")

    def show(crew: Crew) -> None:
        del crew
        if all((f / "pids").exists() and (f / "pids").read_text() for f in folders[:2]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.run(folders, workers=2, show=show)
    assert not (folders[2] / "began").exists(), "no further job is started"
    return [int(pid) for f in folders[:2] for pid in (f / "pids").read_text().split()]


def gone(pids: list[int]) -> bool:
    try:
        wait_for(lambda: not any(map(alive, pids)), seconds=3)
        return True
    except AssertionError:
        return False
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_ctrl_c_ends_every_job_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    assert gone(stopped(tmp_path, "import time; print(1, flush=True); time.sleep(60)"))
    assert time.monotonic() - began < local.PATIENCE / 2


def test_ctrl_c_ends_children_that_outlive_their_job(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    assert gone(stopped(tmp_path, deaf))


def test_each_job_is_a_process_group_of_its_own(tmp_path: Path) -> None:
    (folder,) = jobs(tmp_path, "(folder / 'group').write_text(f'{os.getpgid(0)} {os.getpid()}')")
    local.run([folder], workers=1, show=nothing)
    group, pid = map(int, (folder / "group").read_text().split())
    assert group == pid != os.getpgid(0)


def test_the_one_way_a_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert local.command(Path("a/b"), ["x", "y"]) == [
        sys.executable, "-m", "advarch.cli.job", "a/b", "--trust=x", "--trust=y",
    ]  # fmt: skip
    help_text = subprocess.run([*local.command(Path("-h"))], capture_output=True, text=True)
    assert help_text.returncode == 0 and "--trust" in help_text.stdout


def test_a_job_of_several_processes_has_as_many_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "gpus", lambda: ["0", "1", "2", "5"])
    folders = jobs(tmp_path, *["time.sleep(0.1)"] * 3)
    crew = local.run(folders, workers=None, show=nothing, processes=[2, 2, 8])
    assert crew.size == 1
    seen = [json.loads((f / "environment").read_text())["CUDA_VISIBLE_DEVICES"].split(",") for f in folders]
    assert [len(each) for each in seen] == [2, 2, 4] and all(len(set(each)) == len(each) for each in seen)
    crew = local.run(jobs(tmp_path / "b", *["pass"] * 4), workers=None, show=nothing, processes=[2] * 4)
    assert crew.size == 2


def test_a_job_that_was_told_to_stop_has_not_failed(tmp_path: Path) -> None:
    folders = jobs(
        tmp_path, f"sys.exit({INTERRUPTED})", "sys.exit(130)", "os.kill(os.getpid(), 15)", "sys.exit(1)"
    )
    crew = local.run(folders, workers=2, show=nothing)
    assert [w.state for w in crew.workers] == ["interrupted"] * 3 + ["failed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_told_to_stop_a_launch_asks_its_jobs_to_save(tmp_path: Path, number: int) -> None:
    saving = "import signal\ndef save(*_):\n    time.sleep(0.3); (folder / 'saved').touch(); sys.exit(79)\n"
    # In short naps: Python sees a signal that comes just before it sleeps when it wakes, which one long nap puts off
    # until the job is killed.
    saving += "signal.signal(signal.SIGTERM, save); (folder / 'up').touch()\nfor _ in range(2400):\n    time.sleep(0.05)"
    folders = jobs(tmp_path, saving, saving, "pass")

    def show(crew: Crew) -> None:
        del crew
        if all((f / "up").exists() for f in folders[:2]):
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as raised:
        local.run(folders, workers=2, show=show)
    assert raised.value.number == number
    assert all((f / "saved").exists() for f in folders[:2]) and not (folders[2] / "began").exists()


DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN); (folder / 'up').touch(); time.sleep(60)"


def test_a_second_ctrl_c_ends_jobs_that_take_their_time(tmp_path: Path) -> None:
    folders = jobs(tmp_path, DEAF)
    shown: list[bool] = []

    def show(crew: Crew) -> None:
        shown.append(crew.stopping)
        if crew.stopping:
            # Counted from the first, which has been heard by now: two within a second are one.
            threading.Timer(1.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        elif (folders[0] / "up").exists():
            os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        local.run(folders, workers=1, show=show)
    assert time.monotonic() - began < local.PATIENCE / 2
    assert shown[-1] and shown.count(True) == 1, "said at once, and once"


def test_a_second_ctrl_c_while_the_jobs_are_told_ends_them_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = jobs(tmp_path, DEAF, DEAF)
    plain, told = os.killpg, []

    def killpg(group: int, number: int) -> None:
        plain(group, number)
        told.append((group, number))
        if len(told) == 1:
            raise Interrupted(signal.SIGINT)

    def show(crew: Crew) -> None:
        if not crew.stopping and all((f / "up").exists() for f in folders):
            raise KeyboardInterrupt

    monkeypatch.setattr(local.os, "killpg", killpg)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        local.run(folders, workers=2, show=show)
    assert gone([int(number(f, "pid")) for f in folders])
    assert len({group for group, sign in told if sign == signal.SIGKILL}) == 2
    assert time.monotonic() - began < local.PATIENCE / 2


def test_a_signal_while_a_job_is_started_ends_it_like_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = jobs(tmp_path, "time.sleep(60)", "pass")
    plain, started = subprocess.Popen, []

    def told_meanwhile(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        started.append(plain(*arguments, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(local.subprocess, "Popen", told_meanwhile)
    with pytest.raises(Interrupted):
        local.run(folders, workers=2, show=nothing)
    assert gone([process.pid for process in started]) and len(started) == 1
    assert not (folders[1] / "began").exists()
