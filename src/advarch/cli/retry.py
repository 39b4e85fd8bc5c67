"""The verb `retry`: submit again what did not end well."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from advarch.cli.compose import PlannedJob
from advarch.cli.slurm import submit, sweeps, wait
from advarch.errors import InputError
from advarch.launch import queue
from advarch.launch.slurm import KEY, settings
from advarch.launch.submission import places, standing, submitted
from advarch.runs.folder import RunFolder

STATES = ("failed", "interrupted")


def retry(arguments: Sequence[str]) -> int:
    """Submit again the runs in a folder (outputs by default) that failed, or that were interrupted.

    Each sweep goes with the settings of its last submission, changed by those that are typed.

    Raises:
        InputError: no such state or folder, nothing was submitted from there, or Slurm refuses.
    """
    typed = [argument for argument in arguments if "=" in argument]
    state, root = ([argument for argument in arguments if argument not in typed] + ["", "outputs"])[:2]
    if state not in STATES:
        raise InputError(
            f"retry: expected {' or '.join(STATES)}, came {state!r}; type advarch retry failed [FOLDER]"
        )
    found = sweeps(Path(root or "outputs"))
    if not found:
        raise InputError(
            f"retry: expected a folder from which something was submitted to Slurm, came {root!r}"
        )
    changed = {
        override.get_key_element().removeprefix(f"{KEY}."): override.value()
        for override in OverridesParser.create().parse_overrides(typed)
    }
    for sweep in found:
        _retry(sweep, state, changed)
    return 0


def _retry(sweep: Path, state: str, changed: Mapping[str, object]) -> None:
    known = places(sweep, queue.queued())
    jobs = []
    for name, place in known.items():
        folder = RunFolder(sweep / name)
        config = folder.config()
        if standing(folder, config, place).state == state:
            jobs.append(PlannedJob(config, folder))
    said = f"{sweep}: {len(jobs)} of {len(known)} {state}"
    if not jobs:
        print(said)
        return
    before = submitted(sweep)[-1][1].settings
    slurm = settings({**before, "wait": False, "dry_run": False, **changed})
    submit(jobs, slurm, said)
    if slurm.wait and not slurm.dry_run:
        wait(sweep, [job.folder for job in jobs])
