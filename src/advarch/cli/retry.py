"""The verb `retry`: submit again what did not end well."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from advarch.cli.compose import PlannedJob
from advarch.cli.slurm import submit, sweeps, wait
from advarch.errors import InputError
from advarch.launch import queue
from advarch.launch.slurm import KEY, settings
from advarch.launch.submission import Place, places, standing, submitted
from advarch.runs.folder import RunFolder
from advarch.runs.trust import own

STATES = ("failed", "interrupted")


def retry(arguments: Sequence[str]) -> int:
    """Submit again the runs in a folder (outputs by default) that failed, or that were interrupted.

    Each sweep goes with the settings of its last submission, changed by those that are typed. `--trust` is typed anew.

    Raises:
        InputError: no such state or folder, nothing was submitted from there, a package that was trusted then is not
            trusted now, or Slurm refuses.
    """
    typed = [argument for argument in arguments if "=" in argument]
    words = [argument for argument in arguments if argument not in typed]
    state, root = (*words, *("", "outputs")[len(words) :])[:2]
    if state not in STATES:
        raise InputError(
            f"retry: expected {' or '.join(STATES)}, came {state or 'none'}; type advarch retry failed [FOLDER]"
        )
    found = sweeps(Path(root))
    if not found:
        raise InputError(
            f"retry: expected a folder from which something was submitted to Slurm, came {root!r}; "
            "what ran on this machine goes on when its own command is typed again"
        )
    changed = {
        override.get_key_element().removeprefix(f"{KEY}."): override.value()
        for override in OverridesParser.create().parse_overrides(typed)
    }
    queued = queue.queued()
    known = {sweep: places(sweep, queued) for sweep in found}
    chosen = {sweep: _in_state(sweep, known[sweep], state) for sweep in found}
    for sweep, jobs in chosen.items():
        _trusted_as_before(sweep, [known[sweep][job.folder.path.name] for job in jobs], arguments)
    for sweep, jobs in chosen.items():
        _retry(sweep, jobs, f"{sweep}: {len(jobs)} of {len(known[sweep])} {state}", changed)
    return 0


def _in_state(sweep: Path, known: Mapping[str, Place], state: str) -> list[PlannedJob]:
    jobs = []
    for name, place in known.items():
        folder = RunFolder(sweep / name)
        config = folder.config()
        if standing(folder, config, place).state == state:
            jobs.append(PlannedJob(config, folder))
    return jobs


def _trusted_as_before(sweep: Path, last: Sequence[Place], arguments: Sequence[str]) -> None:
    """Refuse jobs that would fail for want of a package. It is asked for and not taken from the file, which may be a stranger's."""
    folders = {place.folder for place in last}
    trusted = {name: None for folder, s in submitted(sweep) if folder in folders for name in s.trust}
    missing = [name for name in trusted if name not in own()]
    if missing:
        typed = [f"--trust {shlex.quote(name)}" for name in (*own(), *missing)]
        raise InputError(
            f"retry: expected the packages that {sweep} was submitted with, came no --trust {', '.join(missing)}; "
            f"if they are your own, type advarch retry {' '.join([shlex.join(arguments), *typed])}"
        )


def _retry(sweep: Path, jobs: Sequence[PlannedJob], said: str, changed: Mapping[str, object]) -> None:
    if not jobs:
        print(said)
        return
    before = submitted(sweep)[-1][1].settings
    slurm = settings({**before, "wait": False, "dry_run": False, **changed})
    submit(jobs, slurm, said)
    if slurm.wait and not slurm.dry_run:
        wait(sweep, [job.folder for job in jobs])
