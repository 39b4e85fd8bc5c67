"""What Slurm is asked for: the script as it stands, run by bash with stand-ins for Slurm; settings, arrays and packs."""

import os
import signal
import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advarch.errors import InputError
from advarch.launch.script import script
from advarch.launch.slurm import Array, array_option, arrays, fitted, seconds, settings, tasks

GOLDEN = Path(__file__).with_name("golden")


def text(folder: Path = Path("/o/demo/slurm/1"), cwd: Path = Path("/home/a b"), **values: Any) -> str:
    return script(settings(values), name="demo", folder=folder, cwd=cwd, python="/v/bin/python")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("plain", {"gpus": 1}),
        (
            "whole",
            {
                "partition": "long",
                "account": 7,
                "qos": "high",
                "constraint": "a100&nvlink",
                "nodes": 2,
                "gpus": "a100:4",
                "cpus": 16,
                "memory": "64G",
                "time": "2-00:00:00",
                "warning": 300,
                "setup": ["module load cuda", "source env.sh"],
                "container": "apptainer exec --nv a.sif",
                "python": "python3",
                "sbatch": ["--mail-type=FAIL", "--exclusive"],
                "requeues": 5,
            },
        ),
        ("packed", {"jobs_per_task": 3, "cpus": 8, "gpus": 2}),
    ],
)
def test_the_script_to_the_letter(name: str, values: dict[str, Any]) -> None:
    assert text(**values) == (GOLDEN / f"submit_{name}.sh").read_text()


JOB = """#!/bin/bash
echo "job $NODE_RANK $SLURM_NTASKS $SLURM_STEP_ID $OMP_NUM_THREADS $*"
{}
"""


def run(
    root: Path, job: str, signals: tuple[int, ...] = (), up: str = "a run/job.log", **values: Any
) -> tuple[int, str, str]:
    """Exit code, job.log and what was asked of scontrol, when bash runs the script and is sent signals once a file is there."""
    folder, runs, commands = root / "slurm", root / "a run", root / "bin"
    for each in (folder, runs, commands):
        each.mkdir()
    for path, body in (
        (commands / "scontrol", f'#!/bin/bash\necho "$@" >> "{root}/asked"\n'),
        (root / "python", JOB.format(job)),
    ):
        path.write_text(body)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "tasks.txt").write_text(f"/elsewhere\n/nowhere\n{runs}\n")
    body = text(folder, root, python=str(root / "python"), **values).replace("sleep 1", "sleep 0.05")
    (folder / "submit.sh").write_text(body)
    environment = {"PATH": f"{commands}:{os.environ['PATH']}", "SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "9"}
    environment |= {"SLURM_ARRAY_TASK_ID": "1", "SLURM_NTASKS": "1", "SLURM_RESTART_COUNT": "2"}
    process = subprocess.Popen(["bash", str(folder / "submit.sh"), "1"], env=environment)
    for number in signals:
        deadline = time.monotonic() + 30
        while not (root / up).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
    code = process.wait(timeout=60)
    asked = (root / "asked").read_text() if (root / "asked").exists() else ""
    return code, (runs / "job.log").read_text(), asked.replace("show hostnames\n", "")


def test_what_the_command_line_trusts_every_job_trusts() -> None:
    found = script(
        settings({}), name="x", folder=Path("/f"), cwd=Path("/"), python="p", trust=["mine", "ours.nets"]
    )
    assert '  exec p -m advarch.cli.job --trust=mine --trust=ours.nets "$@"\n' in found


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_that_ends_by_itself_ends_the_task(tmp_path: Path, code: int) -> None:
    ended, log, asked = run(tmp_path, f"exit {code}")
    assert (ended, asked.strip()) == (code, "show hostnames")
    assert log == f"job 0   4 -m advarch.cli.job {tmp_path}/a run\n", "no word of Slurm's about ranks"


TOLD = "trap 'exit 79' USR1; touch up; for i in {1..600}; do sleep 0.05; done"


def test_told_to_stop_it_saves_and_is_queued_again(tmp_path: Path) -> None:
    code, _, asked = run(tmp_path, TOLD, (signal.SIGUSR1,), "up")
    assert code == 0 and asked.splitlines()[-1] == "requeue 7_1"


def test_a_signal_before_the_job_listens_does_not_fail_it(tmp_path: Path) -> None:
    code, _, asked = run(tmp_path, "exec sleep 30", (signal.SIGUSR1,))
    assert code == 0 and asked.splitlines()[-1] == "requeue 7_1"


def test_a_signal_that_nobody_heard_is_sent_again(tmp_path: Path) -> None:
    deaf = f"trap '' USR1; for i in {{1..6}}; do sleep 0.05; done; {TOLD}"
    code, _, asked = run(tmp_path, deaf, (signal.SIGUSR1,))
    assert code == 0 and asked.splitlines()[-1] == "requeue 7_1"


def test_so_many_times_and_no_more(tmp_path: Path) -> None:
    code, log, asked = run(tmp_path, TOLD, (signal.SIGUSR1,), "up", requeues=2)
    assert code == 79 and "requeue" not in asked
    assert log.splitlines()[-1] == "advarch: not queued again after 2 times"


def test_cancelled_it_waits_for_the_job_and_is_not_queued_again(tmp_path: Path) -> None:
    code, _, asked = run(tmp_path, "for i in {1..12}; do sleep 0.05; done; exit 79", (signal.SIGTERM,))
    assert code == 79 and "requeue" not in asked


def test_a_folder_that_another_process_works_in_is_come_back_to(tmp_path: Path) -> None:
    assert run(tmp_path, "exit 75")[2].splitlines()[-1] == "requeue 7_1"


def test_a_killed_job_fails_and_its_log_says_so(tmp_path: Path) -> None:
    code, log, asked = run(tmp_path, "kill -9 $$")
    assert code == 137 and "requeue" not in asked and log.splitlines()[-1] == "advarch: ended by signal 9"


def test_a_job_that_fails_although_told_to_stop_is_not_queued_again(tmp_path: Path) -> None:
    code, _, asked = run(tmp_path, TOLD.replace("79", "1"), (signal.SIGUSR1,), "up")
    assert code == 1 and "requeue" not in asked


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nodez": 1}, "hydra.launcher.nodez: unknown key; did you mean 'nodes'?"),
        ({"nodes": 0}, "hydra.launcher.nodes: expected greater than or equal to 1, came 0"),
        ({"gpus": "many"}, "a number, or type:number as in a100:4, came 'many'"),
        ({"gpus": -1}, "hydra.launcher.gpus: expected greater than or equal to 0"),
        ({"time": "soon"}, "minutes, H:M:S or D-H:M:S, came 'soon'"),
        (
            {"time": "3:00", "warning": 121},
            r"a minute more than hydra.launcher.warning \(121 s\), came '3:00'",
        ),
        ({"partition": "a b"}, "hydra.launcher.partition: expected one word"),
        ({"memory": 32}, "hydra.launcher.memory: expected a number with K, M, G or T, as in 32G, came 32"),
        (
            {"memory": "lots"},
            "hydra.launcher.memory: expected a number with K, M, G or T, as in 32G, came 'lots'",
        ),
        ({"memory": "1.5G"}, "hydra.launcher.memory: expected a number with K, M, G or T"),
        ({"setup": "source x"}, "hydra.launcher.setup: expected a list"),
        ({"setup": ["a\nb"]}, "hydra.launcher.setup: expected one line of text"),
        ({"sbatch": ["-t 3"]}, "options such as"),
        ({"sbatch": ["--signal=TERM@3"]}, "none that the script sets itself, came '--signal=TERM@3'"),
        ({"jobs_per_task": 2, "nodes": 2}, "expected 1 for jobs of several nodes"),
        ({"requeues": -1}, "hydra.launcher.requeues"),
        ({"parallel": 0}, "hydra.launcher.parallel"),
    ],
)
def test_a_bad_setting_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        settings(values)


def test_time_limits_as_slurm_reads_them() -> None:
    written = {90: 5400, "5:30": 330, "1:00:00": 3600, "1-0": 86400, "1-2:3": 93780, "2-00:00:01": 172801}
    assert {time: seconds(time) for time in written} == written


def trainer(**values: Any) -> dict[str, Any]:
    return {"trainer": {"devices": "auto", "accelerator": "auto", "num_nodes": 1, **values}}


def test_gpus_are_those_that_a_job_takes() -> None:
    plain = settings({})
    assert fitted(plain, [trainer(), trainer(devices=4)]).gpus == 4
    assert fitted(plain, [trainer(accelerator="cpu", devices=2)]).gpus == 0
    assert fitted(replace(plain, gpus="a100:4"), [trainer(devices=4)]).gpus == "a100:4"
    assert fitted(replace(plain, gpus=0), [trainer(devices=1)]).gpus == 0, "a cluster without GPUs"
    with pytest.raises(InputError, match="gpus: expected at least 4 per node"):
        fitted(replace(plain, gpus=2), [trainer(devices=4)])
    with pytest.raises(InputError, match=r"nodes: expected 2 as trainer\.num_nodes says"):
        fitted(plain, [trainer(num_nodes=2)])


def test_tasks_hold_so_many_folders_and_all_of_them_once() -> None:
    folders = [Path(str(number)) for number in range(7)]
    packed = tasks(folders, 3)
    assert [len(task) for task in packed] == [3, 3, 1]
    assert [folder for task in packed for folder in task] == folders


def test_arrays_are_cut_where_slurm_wants_it_and_hold_every_task_once() -> None:
    assert [array_option(array) for array in arrays(3, largest=1001)] == ["--array=0-2"]
    cut = arrays(25, largest=10, parallel=8)
    assert cut == [Array(0, 10, 3), Array(10, 10, 3), Array(20, 5, 2)]
    assert [array_option(array) for array in cut] == ["--array=0-9%3", "--array=0-9%3", "--array=0-4%2"]
    assert [array.first + n for array in cut for n in range(array.count)] == list(range(25))
    assert [array.count for array in arrays(1001, largest=1001)] == [1001]
    with pytest.raises(
        InputError, match="parallel: expected at least 3, one for each array of 10 tasks, came 2"
    ):
        arrays(25, largest=10, parallel=2)
