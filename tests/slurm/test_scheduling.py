"""On a real Slurm with stand-in jobs: time limits, early signals, packs, cancelling, and 125 jobs of which a fifth meet trouble."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from advarch.cli.cancel import cancel
from advarch.cli.retry import retry
from advarch.launch.queue import queued
from advarch.launch.submission import submitted
from tests.slurm.cluster import LARGEST_ARRAY, ask, release, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]


def test_of_125_jobs_with_trouble_in_a_fifth_all_end_well_after_one_retry(sweep: Any, capsys: Any) -> None:
    trouble = dict.fromkeys(range(0, 64, 8), "kill") | dict.fromkeys(range(1, 57, 8), "raise")
    trouble |= dict.fromkeys(range(2, 42, 8), "full")
    jobs = sweep(125, trouble, steps=5, seconds=0.2)
    jobs.submit()
    ((_, kept),) = submitted(jobs.path)
    assert [array.count for array in kept.arrays] == [LARGEST_ARRAY, LARGEST_ARRAY, 125 - 2 * LARGEST_ARRAY]
    # Somebody more important takes both nodes while the first jobs run.
    wait_for(lambda: sum(not task.waits for task in queued().values()) == 8)
    ask("sbatch", "--partition=high", "--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=sleep 2")
    ended = jobs.finish()
    preempted = [n for n in range(125) if any(a["slurm"]["restarts"] for a in jobs.attempts(n))]
    assert len(preempted) >= 5
    # Who was preempted after his trouble was met has failed like the others; nobody else has.
    assert ended == {"done": 125 - len(trouble), "failed": len(trouble)}
    notes = {name: stands.note for name, stands in jobs.standings().items() if stands.state == "failed"}
    assert sorted(notes) == [f"job-{n:03d}" for n in sorted(trouble)]
    said = {
        "kill": "ended by signal 9",
        "raise": "KeyError: 'injected'",
        "full": "no room to write last.ckpt",
    }
    assert all(said[what] in notes[f"job-{n:03d}"] for n, what in trouble.items())
    assert retry(["failed", str(jobs.path)]) == 0
    assert f"{len(trouble)} of 125 failed" in capsys.readouterr().out
    assert jobs.finish() == {"done": 125}
    for n in range(125):
        assert jobs.counted(n) == [1, 2, 3, 4, 5], "each step once, whatever happened in between"
    assert {node for n in range(125) for node in [jobs.attempts(n)[0]["node"]]} == {"n1", "n2"}


def test_at_the_time_limit_a_job_saves_is_queued_again_and_goes_on(sweep: Any) -> None:
    jobs = sweep(1, steps=250, seconds=0.5)
    jobs.submit(time="2", warning=60)
    wait_for(lambda: queued() and next(iter(queued().values())).restarts == 1)
    wait_for(lambda: jobs.states() == {"queued": 1})
    before = len(jobs.counted(0))
    assert 0 < before < 250
    (name,) = queued()
    ask("scontrol", "update", f"jobid={name}", "TimeLimit=60")
    assert jobs.finish() == {"done": 1}
    assert jobs.counted(0) == list(range(1, 251))
    assert [attempt["slurm"]["restarts"] for attempt in jobs.attempts(0)] == [0, 1]
    assert jobs.standings()["job-000"].requeued == 1


def test_a_signal_while_the_job_is_starting_kills_nothing(sweep: Any) -> None:
    jobs = sweep(1, steps=30, seconds=0.2)
    jobs.submit()
    (name,) = wait_for(queued)
    # Slurm may say RUNNING before there is a script to be told anything.
    wait_for(lambda: list(jobs.path.glob("slurm/1/*.log")))
    ask("scancel", "--batch", "--signal=USR1", name)
    assert jobs.finish() == {"done": 1}
    assert jobs.counted(0) == list(range(1, 31)) and jobs.standings()["job-000"].requeued == 1


def test_after_so_many_times_a_job_is_left_alone_until_somebody_retries(sweep: Any) -> None:
    jobs = sweep(1, steps=40, seconds=0.2)
    jobs.submit(requeues=1)
    for restarts in (0, 1):
        (name,) = wait_for(
            lambda restarts=restarts: [k for k, q in queued().items() if q.restarts == restarts]
        )
        wait_for(lambda: release() or jobs.states()["running"])
        ask("scancel", "--batch", "--signal=USR1", name)
    assert jobs.finish() == {"interrupted": 1}
    assert jobs.standings()["job-000"].note == "not queued again after 1 times"
    assert retry(["interrupted", str(jobs.path)]) == 0
    assert jobs.finish() == {"done": 1}
    assert jobs.counted(0) == list(range(1, 41))


def test_small_jobs_share_an_allocation_and_its_gpus(sweep: Any) -> None:
    # The trouble comes at half way; long after it the others are still at work, to be told to stop.
    jobs = sweep(5, {1: "raise"}, steps=40, seconds=0.3)
    jobs.submit(jobs_per_task=4, gpus=2, cpus=2)
    (_, kept) = submitted(jobs.path)[-1]
    assert [len(task) for task in kept.tasks] == [4, 1]
    failing = jobs.jobs[1].folder
    wait_for(lambda: [stage.state for stage in failing.status().stages.values()] == ["failed"])
    wait_for(lambda: all(len(jobs.counted(n)) > 12 for n in (0, 2, 3)))
    assert Counter(jobs.attempts(n)[0]["gpus"] for n in range(4)) == {"0": 2, "1": 2}
    ask("scancel", "--batch", "--signal=USR1", next(iter(kept.task_names())))
    assert jobs.finish() == {"done": 4, "failed": 1}
    assert [len(jobs.attempts(n)) for n in range(4)] == [2, 1, 2, 2], (
        "what failed in a pack waits for a retry"
    )
    retry(["failed", str(jobs.path)])
    assert jobs.finish() == {"done": 5}
    assert all(jobs.counted(n) == list(range(1, 41)) for n in range(5))


def test_cancelled_jobs_save_and_are_not_queued_again(sweep: Any, capsys: Any, tmp_path: Path) -> None:
    jobs = sweep(3, steps=600, seconds=0.2)
    jobs.submit(parallel=2)
    wait_for(lambda: jobs.states() == {"running": 2, "queued": 1})
    assert cancel([str(tmp_path / "outputs")]) == 0
    assert "cancelled 3 tasks: 1 that waited, 2 that ran" in capsys.readouterr().out
    assert jobs.finish() == {"interrupted": 2, "missing": 1}
    assert {stands.note.partition(";")[0] for stands in jobs.standings().values()} == {
        "stopped by SIGTERM",
        "",
    }
