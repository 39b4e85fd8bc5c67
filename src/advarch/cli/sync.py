"""The verb `sync`: send to W&B what was recorded offline, by W&B's own command."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from advarch.errors import InputError
from advarch.runs.lock import holder
from advarch.runs.tracking import has_login

RUNS = "wandb/offline-run-*/run-*.wandb"
"""What W&B records offline in a run folder, one file an attempt; sorted by name they are in the order of their start."""


def sync(arguments: Sequence[str]) -> int:
    """Send the offline attempts of every run below a folder (outputs by default) that were not sent; `dry_run=true` lists them.

    All attempts of a run go into one W&B run, in their order. A run that is being worked on is left for later.

    Raises:
        InputError: no such folder, an unknown word, or no login.
    """
    words = [argument for argument in arguments if argument != "dry_run=true"]
    if len(words) > 1 or any("=" in word.removeprefix("outputs=") for word in words):
        raise InputError(f"sync: expected a folder and perhaps dry_run=true, came {' '.join(arguments)}")
    root = Path(words[0].removeprefix("outputs=") if words else "outputs")
    if not root.is_dir():
        raise InputError(f"sync: expected a folder of runs, came {str(root)!r}, which is not there")
    found = sorted(root.glob(f"**/{RUNS}"))
    busy = {path for path in found if holder(_run(path)) is not None}
    waiting = [path for path in found if not _sent(path) and path not in busy]
    for run, attempts in groupby(waiting, _run):
        print(f"{run}: {_count(len(list(attempts)), 'attempt')}")
    already = sum(map(_sent, found))
    print(
        f"{_count(len(waiting), 'attempt')} to send, {already} sent before, {len(busy)} still being written"
    )
    if len(words) < len(arguments) or not waiting:
        return 0
    if not has_login():
        raise InputError("sync: expected a login to W&B, came none; type wandb login, or set WANDB_API_KEY")
    # W&B sorts attempts by their start and sends those of one run one after the other.
    subprocess.run([sys.executable, "-m", "wandb", "sync", *map(str, waiting)], check=False)
    sent = sum(map(_sent, waiting))
    print(f"{sent} of {_count(len(waiting), 'attempt')} sent")
    return 0 if sent == len(waiting) else 1


def _run(path: Path) -> Path:
    """The run folder of an attempt."""
    return path.parents[2]


def _sent(path: Path) -> bool:
    """W&B leaves a mark beside what it has sent."""
    return path.with_name(f"{path.name}.synced").exists()


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
