"""From what the user typed to checked configs and their run folders."""

import copy
import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advarch.cli.checks import (
    ONE_MORE,
    PLAIN_ROOTS,
    known_roots,
    search_fits,
    some_attack,
    sweep_begins,
    sweep_shows,
)
from advarch.errors import InputError
from advarch.launch import grid
from advarch.runs.binding import bind
from advarch.runs.config import Config, data_root
from advarch.runs.folder import RunFolder, folder_for
from advarch.runs.genotypes import with_genotype
from advarch.runs.initial_weights import with_initial_weights
from advarch.runs.resolved import Resolved, plain
from advarch.runs.shrink import shrunk
from advarch.runs.sources import with_sources
from advarch.runs.units import register_resolvers


@dataclass(frozen=True)
class PlannedJob:
    """One job: its config and the folder it belongs in."""

    config: Config
    folder: RunFolder


_VALUE = re.compile(r"(?!hydra\.)(seed|[A-Za-z_]\w*(\.[\w-]+)+)=")
"""An override of a value that is there: no choice of a group, and nothing of Hydra's own, which decides where groups are found."""

CONFIG_DIR = ("--config-dir", "-cd")
OPEN = ("evaluation.grids", "evaluation.shares")
"""Mappings whose keys are attacks' names: nothing stands in them beforehand that an override could change."""

LAUNCHERS = ("dry_run", "wait")
"""Settings of hydra/launcher=slurm that may be typed in short."""


def normalise(arguments: Sequence[str]) -> list[str]:
    """What the user typed in Hydra's own words, the same for every verb.

    `+sweep=X` means `sweep=X`: the group has its place before `scale`, so that a scale can still shrink a sweep.
    `--config-dir DIR` adds DIR to the places where groups are looked for. `dry_run=true` means `hydra.launcher.dry_run=true`.

    Raises:
        InputError: no such folder, or a list where attacks have names.
    """
    found = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, value = argument.partition("=")
        if flag in CONFIG_DIR:
            argument = _searched(flag, value if equals else next(waiting, ""))
        elif argument.startswith("+sweep="):
            argument = argument.removeprefix("+")
        elif flag in LAUNCHERS and equals:
            argument = f"hydra.launcher.{argument}"
        elif argument.startswith(OPEN) and equals:
            argument = f"++{argument}"
        elif flag.lstrip("+") == "evaluation.attacks" and value.startswith("["):
            raise InputError(
                f"evaluation.attacks: expected names of columns, came the list {value}; {ONE_MORE}"
            )
        found.append(argument)
    return found


def _searched(flag: str, folder: str) -> str:
    """A folder of the user's own as an override of Hydra's search path."""
    path = Path(folder).absolute()
    if not folder or not path.is_dir():
        raise InputError(
            f"{flag}: expected a folder that holds groups, as in DIR/evaluation/mine.yaml, came {folder!r}, which is none"
        )
    quoted = str(path).replace("'", "\\'")
    return f"hydra.searchpath=['file://{quoted}']"


@contextmanager
def hydra_configs() -> Iterator[None]:
    """Hydra's compose API over conf/ and sweeps/."""
    from hydra import initialize_config_dir

    register_resolvers()
    with initialize_config_dir(str(data_root("conf")), version_base="1.3"):
        yield


def compose(arguments: Sequence[str]) -> DictConfig:
    """One composed config, Hydra's own node included. Only inside `hydra_configs`."""
    from hydra import compose as hydra_compose

    return hydra_compose("config", list(arguments), return_hydra_config=True)


def compose_all(jobs: Sequence[Sequence[str]]) -> Iterator[Config]:
    """Every job's config, as `described` has it. What only changes values is set in the config that all with equal choices share.

    As Hydra has it, values are applied after all choices, in the order in which they are typed. What can't be applied is
    composed as it stands, and so refused in the usual words.
    """
    shared: dict[tuple[str, ...], tuple[DictConfig, Resolved]] = {}
    for job in jobs:
        values = [override for override in job if _VALUE.match(override)]
        choices = tuple(override for override in job if override not in values)
        if choices not in shared:
            config = chosen(choices)
            shared[choices] = config, Resolved(config)
        yield _with_values(*shared[choices], values) or described(compose(job))


def chosen(choices: tuple[str, ...]) -> DictConfig:
    """What Hydra composes of choices alone, half a second's work, once in a process: only `_with_values` writes into it."""
    # Files of the user's own may change meanwhile.
    own = any(choice.startswith("hydra.") for choice in choices)
    return compose(choices) if own else _chosen_of_ours(choices)


@functools.lru_cache(maxsize=32)
def _chosen_of_ours(choices: tuple[str, ...]) -> DictConfig:
    return compose(choices)


def _with_values(config: DictConfig, resolved: Resolved, values: Sequence[str]) -> Config | None:
    """The config with these values set, described; it is left as it was found. None where one can't be set."""
    names = [value.partition("=")[0] for value in values]
    roots = {name.partition(".")[0] for name in names}
    found = {root: copy.deepcopy(config[root]) for root in roots if root in config}
    try:
        for override in OverridesParser.create().parse_overrides(list(values)):
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        return resolved.plain(config, names) | {"choices": _choices(config)}
    except (OmegaConfBaseException, HydraException):
        return None
    finally:
        for root, node in found.items():
            config[root] = node


def described(config: DictConfig) -> Config:
    """What Hydra composed as plain dicts and lists, with the groups' choices under `choices`.

    Raises:
        InputError: a value that is missing, or an interpolation that leads nowhere.
    """
    return plain(config) | {"choices": _choices(config)}


def _choices(config: DictConfig) -> dict[str, Any]:
    chosen = config.hydra.runtime.choices.items()
    return {str(key): choice for key, choice in chosen if not str(key).startswith("hydra/")}


def planned(config: DictConfig | Config, *, check: bool, label: str = "") -> PlannedJob:
    """The job that a composed config describes.

    Args:
        config: as Hydra composed it, with Hydra's own node, or as `described`.
        label: what tells it from the other jobs of its multirun, for the folder's name.
        check: bind every node to its target's signature and rehearse, which imports torch; without it only what needs no
            import is checked, the values that stand in no node among it.

    Raises:
        InputError: bad input.
    """
    value = described(config) if isinstance(config, DictConfig) else dict(config)
    value.setdefault("sweep", None)
    value.setdefault("shrink", None)
    known_roots(value)
    value = with_initial_weights(with_sources(with_genotype(shrunk(value))))
    search_fits(value)
    some_attack(value["evaluation"])
    if check:
        value = bind(value)
        # Only now, for it imports torch: a name that is not trusted is refused without.
        from advarch.runs.build import rehearse

        rehearse(value)
    else:
        value |= bind({key: value[key] for key in PLAIN_ROOTS})
    return PlannedJob(value, folder_for(value, label))


def planned_jobs(
    arguments: Sequence[str], *, check: bool = False, most: int | None = None
) -> list[PlannedJob]:
    """Every job of a sweep, or its first `most` (or the one job of no sweep), composed one by one."""
    arguments = normalise(arguments)
    with hydra_configs():
        plain_arguments = [a for a in arguments if a not in ("-m", "--multirun")]
        overrides = grid.expand(_sweep_of(plain_arguments), plain_arguments)
        jobs: list[PlannedJob] = []
        for composed, label in zip(compose_all(overrides[:most]), grid.labels(overrides), strict=False):
            jobs.append(planned(composed, check=check, label=label))
            if len(jobs) == 1:
                sweep_begins(jobs[0].config, overrides)
    sweep_shows([job.config for job in jobs])
    return jobs


def sweep_name(arguments: Sequence[str]) -> str | None:
    """The sweep named on the command line, or None."""
    named = [a.removeprefix("sweep=") for a in normalise(arguments) if a.startswith("sweep=")]
    return named[-1] if named else None


def _sweep_of(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The sweep as `run -m` sees it: composed from all that is typed but the choices key=1,2,3."""
    if not any(argument.lstrip("+~").startswith("sweep") for argument in arguments):
        return None
    described = OmegaConf.select(chosen(tuple(grid.fixed(arguments))), "sweep")
    if described is None:
        return None
    value = OmegaConf.to_container(described, resolve=True)
    assert isinstance(value, dict)
    return {str(key): item for key, item in value.items()}
