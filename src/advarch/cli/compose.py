"""From what the user typed to checked configs and their run folders."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advarch.errors import InputError
from advarch.launch import grid
from advarch.runs.config import Config, data_root, plain
from advarch.runs.folder import RunFolder, folder_for
from advarch.runs.genotypes import with_genotype
from advarch.runs.units import register_resolvers


@dataclass(frozen=True)
class PlannedJob:
    """One job: its config and the folder it belongs in."""

    config: Config
    folder: RunFolder


def normalise(arguments: Sequence[str]) -> list[str]:
    """`+sweep=X` means `sweep=X`: the group has its place before `scale`, so that a scale can still shrink a sweep."""
    return [f"sweep={a.removeprefix('+sweep=')}" if a.startswith("+sweep=") else a for a in arguments]


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


def planned(config: DictConfig, *, check: bool, label: str = "") -> PlannedJob:
    """The job that a composed config describes.

    Args:
        config: as Hydra composed it, with Hydra's own node.
        label: what tells it from the other jobs of its multirun, for the folder's name.
        check: bind every node to its target's signature and rehearse, which imports torch; without it only what needs no
            import is checked.

    Raises:
        InputError: bad input.
    """
    value = plain(config)
    choices = {
        key: choice for key, choice in config.hydra.runtime.choices.items() if not key.startswith("hydra/")
    }
    value["choices"] = {str(key): choice for key, choice in choices.items()}
    value.setdefault("sweep", None)
    _known_roots(value)
    value = with_genotype(value)
    if check:
        from advarch.runs.binding import bind
        from advarch.runs.build import rehearse

        value = bind(value)
        rehearse(value)
    return PlannedJob(value, folder_for(value, label))


def planned_jobs(arguments: Sequence[str], *, check: bool = False) -> list[PlannedJob]:
    """Every job of a sweep (or the one job of no sweep), composed one by one."""
    arguments = normalise(arguments)
    with hydra_configs():
        plain_arguments = [a for a in arguments if a not in ("-m", "--multirun")]
        overrides = grid.expand(_sweep_of(plain_arguments), plain_arguments)
        labels = grid.labels(overrides)
        return [
            planned(compose(j), check=check, label=name) for j, name in zip(overrides, labels, strict=True)
        ]


def sweep_name(arguments: Sequence[str]) -> str | None:
    """The sweep named on the command line, or None."""
    named = [a.removeprefix("sweep=") for a in normalise(arguments) if a.startswith("sweep=")]
    return named[-1] if named else None


def _sweep_of(arguments: Sequence[str]) -> dict[str, Any] | None:
    name = sweep_name(arguments)
    if name is None:
        return None
    described = OmegaConf.select(compose([f"sweep={name}"]), "sweep")
    if described is None:
        return None
    value = OmegaConf.to_container(described, resolve=True)
    assert isinstance(value, dict)
    return {str(key): item for key, item in value.items()}


ROOTS = frozenset(
    ["dataset", "backbone", "threat", "attack", "defense", "optimizer", "schedule", "averaging", "trainer"]
    + ["stop", "validation", "evaluation", "search", "logger", "sweep"]
    + ["choices", "seed", "stages", "outputs", "in_process"]
)


def _known_roots(config: Config) -> None:
    from advarch.runs.binding import nearest

    for key in config:
        if key not in ROOTS:
            raise InputError(f"{key}: unknown key; {nearest(key, ROOTS - {'choices'})}")
    for key in sorted(ROOTS - set(config)):
        raise InputError(f"{key}: missing; take `~{key}` back")
    stages = config["stages"]
    if isinstance(stages, list) and stages in (
        ["evaluate", "train"],
        ["train", "train"],
        ["evaluate", "evaluate"],
    ):
        raise InputError(f"stages: expected each stage once, train before evaluate, came {stages}")
