"""submit.sh: the script that each task of an array runs. Bash, because a job may live in a container and Slurm's commands don't."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from advarch.launch.local import BUSY
from advarch.launch.ranks import LAUNCHED
from advarch.launch.signals import INTERRUPTED
from advarch.launch.slurm import Slurm

PORTS = 20000
"""Ports of multi-node jobs: this one and as many above it, by the job's number."""


def script(
    slurm: Slurm, *, name: str, folder: Path, cwd: Path, python: str, trust: Sequence[str] = ()
) -> str:
    """The text of submit.sh.

    Args:
        slurm: the settings, fitted.
        name: of the job in Slurm's lists.
        folder: of the submission, absolute; it holds tasks.txt and the logs.
        cwd: where the paths in the jobs' configs begin.
        python: what runs advarch, unless the settings name another.
        trust: packages whose objects a config may name.
    """
    crew, several = slurm.jobs_per_task > 1, slurm.nodes > 1
    start = (
        f"srun --nodes={slurm.nodes} --ntasks={slurm.nodes} --cpus-per-task={slurm.cpus} --kill-on-bad-exit=0 --wait=0 "
        "bash -c 'run \"$@\"' run"
    )
    module = "advarch.cli.crew" if crew else "advarch.cli.job"
    program = [
        slurm.container,
        shlex.quote(slurm.python or python),
        "-m",
        module,
        *(f"--trust={package}" for package in trust),
    ]
    return _SCRIPT.format(
        options="\n".join(f"#SBATCH {option}" for option in _options(slurm, name, folder)),
        warning=slurm.warning,
        cwd=shlex.quote(str(cwd)),
        tasks=shlex.quote(str(folder / "tasks.txt")),
        setup="".join(f"{line}\n" for line in slurm.setup),
        threads=max(1, slurm.cpus // slurm.jobs_per_task),
        port=PORTS,
        unset=" ".join(name for name in LAUNCHED if name.startswith("SLURM_")),
        program=" ".join(filter(None, program)),
        start=f"export -f run\n{start}" if several else "run",
        log="" if crew else ' >> "$log" 2>&1',
        interrupted=INTERRUPTED,
        busy=BUSY,
        requeues=slurm.requeues,
    )


def _options(slurm: Slurm, name: str, folder: Path) -> list[str]:
    asked = {
        "job-name": f'"{name}"',
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "nodes": slurm.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": slurm.cpus,
        "gres": f"gpu:{slurm.gpus}" if slurm.gpus else None,
        "mem": slurm.memory,
        "time": slurm.time,
        "signal": f"B:USR1@{slurm.warning}",
        "open-mode": "append",
        "output": f'"{folder}/%A_%a.log"',
    }
    options = [f"--{key}={value}" for key, value in asked.items() if value is not None]
    return [*options, "--requeue", *slurm.sbatch]


_SCRIPT = """\
#!/bin/bash
{options}

# A task of the array runs the folders on one line of tasks.txt: sbatch --array=0-9 submit.sh 0 runs the first ten lines.

told=
trap told=yes USR1  # {warning} s before the time limit, or at a preemption
trap : TERM         # cancelled: the job is told as well; stay until it has saved

cd {cwd} || exit 1
IFS=$'\\t' read -r -a folders < <(sed -n "$(($1 + SLURM_ARRAY_TASK_ID + 1))p" {tasks})
log=${{folders[0]}}/job.log

{setup}export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{threads}}}
export MASTER_ADDR=${{MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}}
export MASTER_PORT=${{MASTER_PORT:-$(({port} + SLURM_JOB_ID % {port}))}}

# One process per node, which starts one per device and tells each its rank; what Slurm says of ranks would be in its way.
run() {{
  export NODE_RANK=${{SLURM_NODEID:-0}}
  unset {unset}
  exec {program} "$@"
}}
{start} "${{folders[@]}}"{log} &
step=$!

# Told again and again: the first signal may come before anybody listens.
while kill -0 $step 2> /dev/null; do
  [ -z "$told" ] || kill -USR1 $step 2> /dev/null
  sleep 1
done
wait $step
code=$?

# {busy}: another process works in the folder, come back later. {interrupted}: told to stop, and saved. Above 128: ended before it could listen.
if [ $code -ne {busy} ] && {{ [ -z "$told" ] || {{ [ $code -ne {interrupted} ] && [ $code -le 128 ]; }}; }}; then
  [ $code -le 128 ] || echo "advarch: ended by signal $((code - 128))" >> "$log"
  exit $code
fi
if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {requeues} ]; then
  echo "advarch: not queued again after {requeues} times" >> "$log"
  exit $code
fi
scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
"""
