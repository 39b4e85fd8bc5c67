"""The points of a sweep: axes multiplied, or listed one by one, times the seeds."""

import itertools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from advarch.errors import InputError

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHER_VALUES = {"true", "false", "null", "inf", "nan"}

UNLABELLED = ("seed=", "dataset=", "backbone=", "defense=", "sweep.", "evaluation.")
"""Overrides that no job's label repeats: its folder names them (`runs.folder.readable`), a sweep says them of its own points, or they
decide nothing of what is trained."""

Point = dict[str, Any]
"""Config key -> value."""


def points(sweep: Mapping[str, Any] | None, typed: Collection[str] = ()) -> list[Point]:
    """Every point of a sweep, in order.

    Args:
        sweep: its description: `axes` (key -> values, multiplied), or `points` (a list of key -> value, for grids with
            conditions or zipped axes), and `seeds`.
        typed: keys given on the command line. They win: an axis over such a key is left out.

    Raises:
        InputError: both axes and points, an axis without values, points that are no mappings, or seeds that are no integers.
    """
    if not sweep:
        return [{}]
    axes, listed = sweep.get("axes"), sweep.get("points")
    if axes and listed:
        raise InputError("sweep: expected axes or points, came both; write the product out as points")
    if axes is not None and not isinstance(axes, Mapping):
        raise InputError(
            f"sweep.axes: expected a mapping of keys to lists of values, came {axes!r}; write e.g. {{optimizer.lr: [0.1, 0.2]}}"
        )
    if listed is not None and not _list_of(Mapping, listed):
        raise InputError(
            f"sweep.points: expected a list of mappings, came {listed!r}; write e.g. [{{optimizer.lr: 0.1}}]"
        )
    seeds = [{"seed": seed} for seed in _seeds(sweep.get("seeds")) if "seed" not in typed]
    if listed:
        base = [{key: value for key, value in point.items() if key not in typed} for point in listed]
    else:
        kept = {key: values for key, values in (axes or {}).items() if key not in typed}
        for key, values in kept.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise InputError(f"sweep.axes.{key}: expected a list of values, came {values!r}")
        base = [dict(zip(kept, values, strict=True)) for values in itertools.product(*kept.values())]
    return [{**point, **seed} for point in base for seed in seeds or [{}]]


def _seeds(value: Any) -> Sequence[int]:
    """The seeds of a sweep, none where nothing is said: then the config's own holds."""
    if value is None:
        return []
    if not value or not _list_of(int, value) or any(isinstance(seed, bool) for seed in value):
        raise InputError(
            f"sweep.seeds: expected a list of integers, came {value!r}; write e.g. [0, 1], or null for the config's seed"
        )
    return list(value)


def _list_of(kind: type, value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, kind) for item in value)


def expand(sweep: Mapping[str, Any] | None, arguments: Sequence[str]) -> list[list[str]]:
    """The override lists of all jobs: the sweep's points times the choices typed as key=1,2,3, plain overrides in all."""
    overrides = OverridesParser.create().parse_overrides(list(arguments))
    typed = {override.get_key_element().lstrip("+") for override in overrides}
    (choices,) = BasicSweeper.split_arguments(overrides, None)
    jobs = [[*to_overrides(point), *choice] for choice in choices for point in points(sweep, typed)]
    return [list(job) for job in dict.fromkeys(tuple(job) for job in jobs)]


def fixed(arguments: Sequence[str]) -> list[str]:
    """The overrides that hold for every job: all but choices typed as key=1,2,3."""
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    return [
        text for text, override in zip(arguments, parsed, strict=True) if not override.is_sweep_override()
    ]


def to_overrides(point: Point) -> list[str]:
    """A point in Hydra's override grammar."""
    return [f"{key}={literal(value)}" for key, value in point.items()]


def literal(value: Any) -> str:
    """A plain value in Hydra's override grammar."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(literal(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) and value.lower() not in _OTHER_VALUES else _quoted(value)
    return str(value) if isinstance(value, float) else json.dumps(value)


def _quoted(text: str) -> str:
    """Hydra's quotes: a quote inside is escaped, and so are backslashes where they stand before a quote."""
    doubled = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{doubled}'"


def labels(jobs: Sequence[Sequence[str]]) -> list[str]:
    """What tells each job from the others, short: depths1-2-1. What folders name anyway is left out (UNLABELLED).

    Args:
        jobs: the override list of each job.
    """
    first = set(jobs[0]) if jobs else set()
    shared = first.intersection(*map(set, jobs))
    return [
        "-".join(_short(text) for text in job if text not in shared and not text.startswith(UNLABELLED))
        for job in jobs
    ]


def _short(override: str) -> str:
    key, _, value = override.partition("=")
    return key.rpartition(".")[2].lstrip("+~") + "-".join(re.findall(r"[\w.+]+", value))
