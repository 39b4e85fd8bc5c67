"""A Slurm cluster for the length of a test: two nodes on this machine, four GPUs each that nobody opens, no system service.

Debian's packages slurmctld, slurmd and slurm-client are all it needs: users are believed (auth/none), processes followed by
/proc, nothing is accounted. Every node is a daemon of its own on a port of its own.
"""

import contextlib
import ctypes
import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

NODES = ("n1", "n2")
LARGEST_ARRAY = 51

CONFIG = """\
ClusterName=advarch
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=10000,batch_sched_delay=0
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MaxArraySize={largest}
GresTypes=gpu
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=2:00:00 PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=ALL MaxTime=2:00:00 PriorityTier=9 PreemptMode=OFF
"""

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 "
    "RealMemory=8000 Gres=gpu:4"
)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """A cluster whose files lie in a folder, and SLURM_CONF set to find it. On the way out whatever was started is stopped."""
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(_configured(folder))
    commands = [
        ["/usr/sbin/slurmctld", "-D", "-c"],
        *(["/usr/sbin/slurmd", "-D", "-N", name] for name in NODES),
    ]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / "daemons.log").open("ab") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_end_with_parent))
        wait_for(_all_idle, 120)
        yield
    finally:
        _stop(daemons)
        os.environ.pop("SLURM_CONF")
        os.environ.update({"SLURM_CONF": before} if before else {})


def _configured(folder: Path) -> Path:
    """Write the configuration; the path of slurm.conf."""
    host, ports = socket.gethostname().partition(".")[0], _free_ports(1 + len(NODES))
    nodes = [
        NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports[1:], strict=True)
    ]
    values = {
        "host": host,
        "ports": ports,
        "user": getpass.getuser(),
        "folder": folder,
        "largest": LARGEST_ARRAY,
    }
    # Only device files will do, and any will: nothing opens them. Jobs see CUDA_VISIBLE_DEVICES=0,1,...
    (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/tty[0-3]\n")
    (folder / "state").mkdir()
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(**values, nodes="\n".join(nodes)))
    return config


def _all_idle() -> bool:
    return ask("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %T", check=False).split() == [
        word for name in NODES for word in (name, "idle")
    ]


def _end_with_parent() -> None:
    """Even when the tests are killed no daemon stays."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _stop(daemons: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Cancel what runs and wait for it, for a task outlives its daemon; then end the daemons, the controller last."""
    with contextlib.suppress(subprocess.SubprocessError, OSError, TimeoutError):
        ask("scancel", f"--user={getpass.getuser()}", check=False)
        wait_for(lambda: not ask("squeue", "--noheader", check=False), 60)
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()


def ask(*command: str, check: bool = True) -> str:
    """What one of Slurm's commands prints."""
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60).stdout


def wait_for(condition, seconds: float = 600.0):  # type: ignore[no-untyped-def]
    """What the condition returns once it is true of something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.1)
    return found


def release() -> None:
    """Let what was queued again start soon: Slurm holds it back for two minutes, and needs a few seconds to forget its end."""
    for line in ask("squeue", "--array", "--noheader", "--states=PENDING", "--format=%i %S %r").splitlines():
        name, when, reason = line.split(" ", 2)
        soon = datetime.now() + timedelta(seconds=10)
        if reason == "BeginTime" and when != "N/A" and datetime.fromisoformat(when) > soon:
            ask("scontrol", "update", f"jobid={name}", "StartTime=now+4seconds", check=False)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
