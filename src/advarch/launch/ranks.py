"""The processes of one job: where this one stands among them, how they are started, and that none outlives another."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advarch.errors import InputError
from advarch.launch.signals import INTERRUPTED, STOPS, exit_code

POLL_SECONDS = 0.05

GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that Linux gives to who asks for any."""

LAST_WORDS = {True: 60.0, False: 10.0}
"""Seconds that the others get once one has ended: after an interruption (rank 0 may still write), and after a failure."""

LAUNCHED = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
    *(
        "SLURM_PROCID",
        "SLURM_LOCALID",
        "SLURM_NODEID",
        "SLURM_NTASKS",
        "SLURM_NTASKS_PER_NODE",
        "SLURM_STEP_ID",
    ),
)
"""By these a process knows its rank: they belong to one job and must never reach the next."""


@dataclass(frozen=True)
class Place:
    """This process among those of its job: `rank` of `world_size`, and `local_rank` on its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0


ALONE = Place()


@dataclass(frozen=True)
class Ended:
    """How the processes of a job ended: the exit code (minus the signal) of the first that did not end well, and its rank."""

    code: int = 0
    rank: int = 0


def here(environment: Mapping[str, str] = os.environ) -> Place:
    """The place that a parent, torchrun or srun gave this process; alone where nobody did.

    Started by srun with NODE_RANK, it is the one process of its machine, which starts the others.
    """
    if "SLURM_STEP_ID" in environment and not {"RANK", "NODE_RANK"} & set(environment):
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    else:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not set(names) <= set(environment):
        return ALONE
    return Place(*(int(environment[name]) for name in names))


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what tells a process its rank."""
    return {key: value for key, value in environment.items() if key not in LAUNCHED}


def environments(count: int, nodes: int, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """What each of this machine's processes finds in its environment.

    Raises:
        InputError: several machines, and nothing says which one this is.
    """
    node = 0
    if nodes > 1:
        missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
        if missing:
            raise InputError(
                f"trainer.num_nodes: expected NODE_RANK, MASTER_ADDR and MASTER_PORT in the environment of each of the {nodes} "
                f"machines, came none of {', '.join(missing)}; run python -m advarch.cli.job FOLDER with them on each, or by "
                "torchrun or srun"
            )
        node = int(environment["NODE_RANK"])
        address, port = environment["MASTER_ADDR"], environment["MASTER_PORT"]
    else:
        address, port = "127.0.0.1", str(_free_port())
    threads = max(1, int(environment.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // count)
    shared = clean(environment) | {
        "ADVARCH_WORKER": "1",
        "OMP_NUM_THREADS": str(threads),
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "NODE_RANK": str(node),
        "WORLD_SIZE": str(count * nodes),
    }
    return [shared | {"RANK": str(node * count + local), "LOCAL_RANK": str(local)} for local in range(count)]


def supervise(command: Sequence[str], environments: Sequence[Mapping[str, str]]) -> Ended:
    """Start one process per environment and stay until all have ended.

    When one dies, the others would wait for it for ever, in a call that no signal gets into: they are given a moment for
    their last words and then killed. Signals are handed on, also to those that are started after one came.
    """
    processes: list[subprocess.Popen[bytes]] = []
    ranks = [int(each["RANK"]) for each in environments]
    before = {number: signal.getsignal(number) for number in STOPS}
    told: list[int] = []

    def hand_on(number: int, frame: Any) -> None:
        del frame
        told.append(number)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    try:
        # Before the first is started: a signal that ended this process now would leave it behind.
        for number in STOPS:
            signal.signal(number, hand_on)
        for each in environments:
            processes.append(subprocess.Popen(command, env=dict(each)))
            for earlier in told:
                processes[-1].send_signal(earlier)
        ended = _watch(processes, ranks)
        # A process that did not listen yet when the signal came died of it, which is no accident.
        return Ended(exit_code(-ended.code), ended.rank) if -ended.code in told else ended
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(processes: Sequence["subprocess.Popen[bytes]"], ranks: Sequence[int]) -> Ended:
    first: tuple[int, int] | None = None
    deadline = 0.0
    while True:
        codes = [process.poll() for process in processes]
        bad = [(code, rank) for code, rank in zip(codes, ranks, strict=True) if code]
        if bad and first is None:
            # Of several that were found dead at once, one that a signal ended is the likelier cause.
            first = min(bad)
            deadline = time.monotonic() + LAST_WORDS[first[0] in (INTERRUPTED, 130)]
        if None not in codes:
            break
        if first is not None and time.monotonic() > deadline:
            for process in processes:
                if process.poll() is None:
                    process.kill()
        time.sleep(POLL_SECONDS)
    return Ended() if first is None else Ended(*first)


def _free_port() -> int:
    """A free port, where possible none of those that connections are given: one may get it before the ranks listen, seconds later."""
    try:
        first, last = map(int, GIVEN.read_text().split())
    except (OSError, ValueError):
        first, last = 1024, 65535
    apart = [*range(1024, first), *range(last + 1, 65536)]
    # Not by the seeded generator: launches of one seed would ask for one port.
    for port in (*random.SystemRandom().sample(apart, min(20, len(apart))), 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return int(probe.getsockname()[1])
    raise OSError("no port is free")
