"""The verb `cancel`: take what was submitted out of Slurm's queue."""

from collections.abc import Sequence
from pathlib import Path

from advarch.cli.slurm import sweeps
from advarch.errors import InputError
from advarch.launch import queue
from advarch.launch.submission import FILE, FOLDER, places


def cancel(arguments: Sequence[str]) -> int:
    """Cancel every task of the runs in a folder (outputs by default): a sweep, or one run. What runs saves first.

    Raises:
        InputError: no such folder, or Slurm can't be asked.
    """
    root = Path(arguments[0].removeprefix("outputs=") if arguments else "outputs")
    if not root.is_dir():
        raise InputError(f"cancel: expected a folder of runs, came {str(root)!r}, which is not there")
    queued = queue.queued()
    # A run's own folder lies in that of its sweep, which knows about the submissions.
    one = root.name if not sweeps(root) and any((root.parent / FOLDER).glob(f"*/{FILE}")) else None
    known = [
        place for sweep in ([root.parent] if one else sweeps(root)) for place in places(sweep, queued).items()
    ]
    named = {place.task for name, place in known if place.queued is not None and one in (None, name)}
    queue.cancel(named)
    waiting = sum(queued[task].waits for task in named)
    print(f"cancelled {len(named)} tasks: {waiting} that waited, {len(named) - waiting} that ran")
    return 0
