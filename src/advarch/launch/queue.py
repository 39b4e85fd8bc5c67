"""Slurm's own commands: what of ours is in its queue, and how it gets in and out. No sacct."""

import os
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from advarch.errors import InputError
from advarch.launch.ranks import clean

FIELDS = {"JobArrayID": 40, "State": 20, "RestartCnt": 12, "Reason": 60}
"""What squeue is asked for, and in how many columns."""

UNANSWERED = ("configuration source", "contact slurm controller")
"""What Slurm's commands say where no controller is."""

LARGEST = 1001
"""Tasks of an array where Slurm can't be asked: its default MaxArraySize."""


@dataclass(frozen=True)
class Queued:
    """A task of an array that waits, runs or is about to end; `restarts`: how often it was queued again."""

    state: str
    restarts: int = 0
    reason: str = ""

    @property
    def waits(self) -> bool:
        return self.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING")


def queued() -> dict[str, Queued]:
    """Every task of this user that Slurm still has to do with, by name: 12_3."""
    layout = ",".join(f"{name}:{width}" for name, width in FIELDS.items())
    return parse_queue(_run("squeue", "--me", "--noheader", "--array", f"--Format={layout}"))


def parse_queue(text: str) -> dict[str, Queued]:
    """What squeue prints in columns of FIELDS."""
    found = {}
    for line in text.splitlines():
        cells, at = [], 0
        for width in FIELDS.values():
            cells.append(line[at : at + width].strip())
            at += width
        if cells[0]:
            restarts = int(cells[2]) if cells[2].isdigit() else 0
            found[cells[0]] = Queued(cells[1], restarts, "" if cells[3] == "None" else cells[3])
    return found


def largest_array() -> int:
    """How many tasks an array may have (numbers below MaxArraySize)."""
    return parse_largest(_run("scontrol", "show", "config"))


def parse_largest(text: str) -> int:
    """MaxArraySize as `scontrol show config` prints it.

    Raises:
        InputError: the cluster takes no arrays.
    """
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    largest = int(match[1]) if match else LARGEST
    if largest < 2:
        raise InputError(
            f"hydra/launcher=slurm: expected a cluster that takes arrays, came MaxArraySize={largest}"
        )
    return largest


def submit(arguments: Sequence[str]) -> str:
    """Submit, and the job's number. Nothing of a job that this process may be part of reaches it."""
    environment = {
        key: value
        for key, value in clean(os.environ).items()
        if not key.startswith("SLURM_") or key == "SLURM_CONF"
    }
    return _run("sbatch", "--parsable", *arguments, environment=environment).strip().partition(";")[0]


def cancel(names: Collection[str]) -> None:
    """Take tasks out of the queue; what runs is told to save first."""
    ordered = sorted(names)
    for at in range(0, len(ordered), 500):
        _run("scancel", *ordered[at : at + 500])


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    """What a command prints.

    Raises:
        InputError: it is not there, or it refuses.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    except FileNotFoundError:
        raise InputError(
            f"hydra/launcher=slurm: expected Slurm's {command[0]} on the path, came none; type this on a login node"
        ) from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        if any(words in said for words in UNANSWERED):
            raise InputError(
                f"hydra/launcher=slurm: expected a Slurm controller that answers {command[0]}, came none; "
                "type this on a login node, where sinfo lists the nodes"
            ) from None
        raise InputError(f"{command[0]}: {said}") from None
