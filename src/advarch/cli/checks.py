"""What every composed config must be, whatever its nodes hold: roots, stages in order, a search where one is awaited, an attack.
And what a sweep must be, so that there is a report of its jobs."""

from collections.abc import Mapping, Sequence
from typing import Any

from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.reports.columns import read_columns
from advarch.reports.published import read_published
from advarch.reports.rows import gather
from advarch.reports.shape import read_shape
from advarch.runs.config import Config
from advarch.runs.genotypes import awaits_search

ONE_MORE = (
    "add one attack with +attack@evaluation.attacks.mim=mim, take one away with ~evaluation.attacks.pgd20"
)

ROOTS = frozenset(
    ["dataset", "backbone", "threat", "attack", "defense", "optimizer", "schedule", "averaging", "trainer"]
    + ["stop", "validation", "evaluation", "analysis", "search", "logger", "sweep", "shrink"]
    + ["choices", "seed", "stages", "outputs", "in_process", "initial_weights"]
)

PLAIN_ROOTS = ("seed", "stages", "outputs", "in_process")
"""Roots that are values and no nodes: binding them imports nothing."""

STAGES = ("search", "train", "evaluate", "analyse")


def known_roots(config: Config) -> None:
    """Every root key is there and no other, and the stages stand in their order."""
    from advarch.runs.binding import nearest

    for key in config:
        if key not in ROOTS:
            raise InputError(f"{key}: unknown key; {nearest(key, ROOTS - {'choices'})}")
    for key in sorted(ROOTS - set(config)):
        raise InputError(f"{key}: missing; take `~{key}` back")
    stages = config["stages"]
    if (
        isinstance(stages, list)
        and set(stages) <= set(STAGES)
        and stages != [s for s in STAGES if s in stages]
    ):
        raise InputError(f"stages: expected each stage once, in the order {', '.join(STAGES)}, came {stages}")


def search_fits(config: Config) -> None:
    """A search for a stage that searches, and for a network that awaits its cells."""
    search = config["search"]
    chosen = search.get("name", "none") if isinstance(search, Mapping) else search
    stages = config["stages"] if isinstance(config["stages"], list) else []
    if chosen != "none":
        if {"search", "train"} <= set(stages) and not awaits_search(config):
            raise InputError(
                f"backbone: expected a network of the cells that search={chosen} finds, came one that takes none from it; "
                "choose backbone=searched, or stages=[search] for the search alone"
            )
        return
    hint = "choose one, search=racl"
    if "search" in stages:
        raise InputError(f"search: expected a search for the stage of this name, came none; {hint}")
    if awaits_search(config):
        raise InputError(
            f"backbone.genotype: expected cells, came search without a search; {hint}, or name some"
        )


def some_attack(evaluation: Any) -> None:
    """A suite has at least one attack, for its first column is the clean accuracy anyway."""
    attacks = evaluation.get("attacks") if isinstance(evaluation, Mapping) else None
    if isinstance(evaluation, Mapping) and not attacks:
        raise InputError(
            f"evaluation.attacks: expected at least one attack, came none; {ONE_MORE} "
            "(the clean accuracy comes with every suite; fgsm is the cheapest)"
        )
    for name, node in attacks.items() if isinstance(attacks, Mapping) else ():
        if not isinstance(node, Mapping):
            raise InputError(
                f"evaluation.attacks.{name}: expected an attack's settings, came {node!r}; {ONE_MORE}"
            )


DECIDE_ATTACKS = ("evaluation", "attack@evaluation", "method", "scale")
"""How overrides begin that change which attacks a suite has."""


def sweep_begins(config: Config, jobs: Sequence[Sequence[str]]) -> None:
    """What the first job alone tells of the sweep's report, so that a slip is not found after the last of many jobs.

    Args:
        config: of the first job.
        jobs: the overrides of all; where they differ in their attacks, the columns wait for `sweep_shows`.

    Raises:
        InputError: a shape that is none, columns or printed numbers that no table can have.
    """
    if config["sweep"] is None:
        return
    shape = read_shape(config["sweep"])
    read_published(config["sweep"], shape)
    differing = set[str]().union(*jobs) - set(jobs[0]).intersection(*jobs)
    if not any(override.lstrip("+~").startswith(DECIDE_ATTACKS) for override in differing):
        read_columns(shape.columns, [RunRecord("", "", config, "missing")])


def sweep_shows(configs: Sequence[Config]) -> None:
    """All that the report of these jobs will read of their sweep is there, before one of them runs.

    Raises:
        InputError: a name that is no folder's, or rows, columns or printed numbers that no table can have.
    """
    swept = [config for config in configs if config["sweep"] is not None]
    shapes = [read_shape(config["sweep"]) for config in swept]
    if not shapes:
        return
    runs = [RunRecord("", "", config, "missing") for config in swept]
    gather(shapes[0].rows, runs)
    read_columns(shapes[0].columns, runs)
    read_published(swept[0]["sweep"], shapes[0])
