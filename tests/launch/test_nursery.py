"""Jobs as forks of one process, with stand-ins for what it imports and for the job."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from advarch.cli import job as job_module
from advarch.launch import local
from advarch.launch.nursery import LOST, Forked, Nursery

# The job does what the file `do` in its folder says. Its parent has imported this before: it notes by whom.
SERVER = """
import os, sys, time
from pathlib import Path
from advarch.cli import nursery
def job(arguments):
    folder = Path(arguments[0])
    (folder / "seen").write_text(repr((os.getppid(), os.getpid(), os.getpgid(0), os.environ.get("MINE"), sys.argv)))
    exec((folder / "do").read_text())
    return 0
nursery.IMPORTED, nursery.job.main = ("json",), job
if "LATE" in os.environ:
    setsid = os.setsid
    os.setsid = lambda: (time.sleep(0.5), setsid())
time.sleep(float(os.environ.get("SLOW", "0")))
nursery.main()
"""


@pytest.fixture
def opened() -> Iterator[Callable[..., Nursery]]:
    made = []

    def open_one(**environment: str) -> Nursery:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | environment, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        made.append(Nursery(process))
        return made[-1]

    yield open_one
    for nursery in made:
        nursery.end()


def told(nursery: Nursery, folder: Path, script: str) -> Forked:
    folder.mkdir(exist_ok=True)
    (folder / "do").write_text(script)
    return nursery.start(folder, trust=("mine",), log=folder / "job.log")


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def ended(job: Forked) -> int:
    wait_for(lambda: job.poll() is not None)
    assert job.code is not None
    return job.code


def test_a_job_is_a_fork_with_a_session_and_a_log_of_its_own_and_the_nursery_s_environment(
    opened: Callable[..., Nursery], tmp_path: Path
) -> None:
    nursery = opened(MINE="the launch's")
    jobs = [
        told(nursery, tmp_path / name, f"print('out'); print('err', file=sys.stderr); sys.exit({code})")
        for code, name in enumerate("abc")
    ]  # fmt: skip
    assert [ended(job) for job in jobs] == [0, 1, 2]
    for job, name in zip(jobs, "abc", strict=True):
        parent, pid, group, mine, typed = eval((tmp_path / name / "seen").read_text())
        assert (parent, pid, group) == (nursery.process.pid, job.pid, job.pid)
        assert mine == "the launch's" and typed == [job_module.__file__, str(tmp_path / name), "--trust=mine"]
        assert sorted((tmp_path / name / "job.log").read_text().split()) == ["err", "out"]


@pytest.mark.parametrize(
    ("script", "code"), [("os.kill(os.getpid(), 9)", -9), ("raise KeyError('one')", 1), ("pass", 0)]
)
def test_how_a_job_ended_is_told_and_the_next_one_is_forked_all_the_same(
    opened: Callable[..., Nursery], tmp_path: Path, script: str, code: int
) -> None:
    nursery = opened()
    assert ended(told(nursery, tmp_path / "one", script)) == code
    assert ("KeyError: 'one'" in (tmp_path / "one/job.log").read_text()) == (code == 1)
    assert ended(told(nursery, tmp_path / "two", "sys.exit(79)")) == 79


def test_signals_end_a_job_and_not_the_nursery(opened: Callable[..., Nursery], tmp_path: Path) -> None:
    nursery = opened()
    job = told(nursery, tmp_path / "one", "time.sleep(60)")
    wait_for(lambda: (job.poll() is not None or job.pid) and (tmp_path / "one/seen").exists())
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        os.kill(nursery.process.pid, number)
    assert job.pid is not None and job.code is None
    os.killpg(job.pid, signal.SIGTERM)
    assert ended(job) == -signal.SIGTERM
    assert ended(told(nursery, tmp_path / "two", "pass")) == 0


def test_a_job_whose_number_is_known_can_be_told_to_stop(
    opened: Callable[..., Nursery], tmp_path: Path
) -> None:
    job = told(opened(LATE="yes"), tmp_path / "one", "time.sleep(60)")
    wait_for(lambda: job.poll() is not None or job.pid)
    assert job.pid is not None
    os.killpg(job.pid, signal.SIGTERM)
    assert ended(job) == -signal.SIGTERM


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_when_the_nursery_is_gone_its_jobs_are_and_a_launch_knows(
    opened: Callable[..., Nursery], tmp_path: Path
) -> None:
    nursery = opened(ADVARCH_WORKER="1")
    job = told(nursery, tmp_path / "one", "time.sleep(60)")
    pid = wait_for(
        lambda: (job.poll() is not None or job.pid) and (tmp_path / "one/seen").exists() and job.pid
    )
    nursery.process.kill()
    assert ended(job) == LOST and not nursery.alive
    wait_for(lambda: not alive(pid))
    assert ended(told(nursery, tmp_path / "two", "pass")) == LOST


def test_a_launch_that_is_gone_takes_the_nursery_with_it(opened: Callable[..., Nursery], tmp_path: Path) -> None:  # fmt: skip
    nursery = opened()
    assert ended(told(nursery, tmp_path / "one", "pass")) == 0
    assert nursery.process.stdin is not None
    nursery.process.stdin.close()
    assert nursery.process.wait(30) == 0


def test_more_jobs_than_places_are_forked_and_fewer_are_not(
    opened: Callable[..., Nursery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(local, "gpus", list)
    asked = []
    monkeypatch.setattr(local, "open_nursery", lambda environment: asked.append(environment) or opened())
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
        (folder / "do").write_text("sys.exit(folder.name == 'b')")
    crew = local.run(folders, workers=2, show=lambda crew: None)
    assert [worker.state for worker in crew.workers] == ["done", "failed", "done"]
    assert asked[0]["ADVARCH_WORKER"] == "1" and crew.nursery is not None
    assert crew.nursery.process.poll() is not None, "it ends with the launch"
    parents = {eval((folder / "seen").read_text())[0] for folder in folders}
    assert parents == {crew.nursery.process.pid}
    monkeypatch.setattr(local, "command", lambda folder, trust: [sys.executable, "-S", "-c", "pass"])
    local.run(folders, workers=3, show=lambda crew: None)
    assert len(asked) == 1


def test_a_nursery_begun_ahead_is_the_launchs_and_ends_with_it(
    opened: Callable[..., Nursery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    asked: list[Nursery] = []
    monkeypatch.setattr(local, "open_nursery", lambda environment: asked.append(opened()) or asked[-1])
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
        (folder / "do").write_text("pass")
    for gpus, jobs in ((["0"], 3), ([], 2)):
        monkeypatch.setattr(local, "gpus", lambda gpus=gpus: gpus)
        with local.nursery_ahead(jobs, 2) as begin:
            assert begin() is None, "on a GPU, or with a place for each, nothing is forked"
    with local.nursery_ahead(3, 2):
        pass
    assert asked == [], "it is not begun before it is asked for"
    with local.nursery_ahead(3, 2) as begin:
        nursery = begin()
        assert begin() is nursery and asked == [nursery]
        crew = local.run(folders, workers=2, show=lambda crew: None, nursery=nursery)
        assert crew.nursery is nursery and len(asked) == 1
    with pytest.raises(ValueError), local.nursery_ahead(3, 2) as begin:
        begin()
        raise ValueError
    assert asked[-1] is not nursery and asked[-1].process.poll() is not None


def test_stopped_while_the_nursery_imports_nothing_begins(
    opened: Callable[..., Nursery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "gpus", list)
    monkeypatch.setattr(local, "open_nursery", lambda environment: opened(SLOW="30"))

    def interrupted(crew: local.Crew) -> None:
        if not crew.stopping:
            raise KeyboardInterrupt

    (tmp_path / "a").mkdir()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        local.run([tmp_path / "a"] * 2, workers=1, show=interrupted)
    assert time.monotonic() - began < 10 and not (tmp_path / "a/seen").exists()
