"""Which run is which job of its sweep, told from the runs alone: a run's config holds the sweep that it is of, and so the list of jobs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from advarch.records import RunRecord
from advarch.reports.rows import ABSENT, label, lookup
from advarch.runs.config import Config, digest

Point = Mapping[str, Any]
"""Config key -> value, as a sweep lists it."""


def scale_of(config: Config) -> str:
    """The scale that a run is of."""
    return str((config.get("choices") or {}).get("scale", "paper"))


def of_other_scales(scale: str, scales: Iterable[str]) -> str:
    """The line that says which other runs lie in a sweep's folder, and are left out; empty without any."""
    others = Counter(other for other in scales if other != scale)
    if not others:
        return ""
    said = ", ".join(f"{count:,} of scale={other}" for other, count in others.items())
    return f"Runs of scale={scale} alone; left out are those of other scales that lie in the same folder: {said}."


def assigned(points: Sequence[Point], runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """A record for every job of the sweep, missing where it has no run; and the runs that are none of its jobs.

    A run is known by its point's settings, and may not bear another point's name (`sweep.model`); at a smaller scale, which sets
    these anew, by its name alone. Where that tells fewer than half of the runs (typed axes), all of them count as jobs, and as many
    are missing as there are fewer runs than points.
    """
    small = any(scale_of(run.config) != "paper" for run in runs)
    found = _by_names(points, runs) if small and any(map(_names, points)) else _by_settings(points, runs)
    taken = {id(run) for run in found if run}
    others = [run for run in runs if id(run) not in taken]
    if len(others) > len(taken):
        return [*runs, *(_missing(point, runs[0]) for point in points[len(runs) :])], []
    jobs = [
        replace(run, config=_with(run.config, _names(point)))
        if run
        else _missing(point, _beside(point, points, found))
        for point, run in zip(points, found, strict=True)
    ]
    return jobs, others


def _settings(point: Point) -> Point:
    return {key: value for key, value in point.items() if not key.startswith("sweep.")}


def _names(point: Point) -> Point:
    named = {key: value for key, value in point.items() if key.startswith("sweep.")}
    return {**named, **({"seed": point["seed"]} if named and "seed" in point else {})}


def _by_settings(points: Sequence[Point], runs: Sequence[RunRecord]) -> list[RunRecord | None]:
    """The run of each point. Points of more settings choose first, for {defense: a} is also true of a run of {defense: a, beta: 1}."""
    same: dict[str, list[Point]] = {}
    for point in points:
        same.setdefault(digest(_settings(point)), []).append(point)
    signed: dict[tuple[str, ...], dict[str, list[RunRecord]]] = {}
    found: dict[str, RunRecord] = {}
    taken: set[int] = set()
    for key, alike in sorted(same.items(), key=lambda item: -len(_settings(item[1][0]))):
        settings = _settings(alike[0])
        keys = tuple(settings)
        if keys not in signed:
            signed[keys] = _signed(keys, runs)
        for run in signed[keys].get(digest(list(settings.values())), []):
            if id(run) not in taken and any(_may_be(run, point) for point in alike):
                found[key] = run
                taken.add(id(run))
                break
    return [found.get(digest(_settings(point))) for point in points]


def _by_names(points: Sequence[Point], runs: Sequence[RunRecord]) -> list[RunRecord | None]:
    signed: dict[tuple[str, ...], dict[str, list[RunRecord]]] = {}
    found = []
    for names in map(_names, points):
        keys = tuple(names)
        if keys not in signed:
            signed[keys] = _signed(keys, runs) if keys else {}
        found.append(next(iter(signed[keys].get(digest(list(names.values())), [])), None))
    return found


def _signed(keys: Sequence[str], runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The runs by their values at these keys."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(digest([_at(run.config, key) for key in keys]), []).append(run)
    return found


def _may_be(run: RunRecord, point: Point) -> bool:
    """Whether the run bears this point's name, or none: it may be older than the names."""
    return all(_at(run.config, key) in (None, value) for key, value in _names(point).items())


def _at(config: Config, key: str) -> Any:
    """The value at a key, the choice where the key is a group's."""
    key = key.lstrip("+")
    choices = config.get("choices") or {}
    value = choices[key] if key in choices else lookup(config, key)
    return None if value is ABSENT else value


def _beside(point: Point, points: Sequence[Point], found: Sequence[RunRecord | None]) -> RunRecord:
    """The run of another seed, else any: what a missing job's config is taken from."""
    there = [(other, run) for other, run in zip(points, found, strict=True) if run]
    alike = (run for other, run in there if {**other, "seed": 0} == {**point, "seed": 0})
    return next(alike, there[0][1])


def _missing(point: Point, beside: RunRecord) -> RunRecord:
    """A job without a run: the config of another one with this point's values, and the sweep's labels that follow them."""
    sweep = beside.config.get("sweep") or {}
    follows = {
        f"sweep.{name}": point[key]
        for key in point
        for name, value in sweep.items()
        if key != "seed"
        and f"sweep.{name}" not in point
        and value is not None
        and value == _at(beside.config, key)
    }
    name = ", ".join(f"{key.rpartition('.')[2]} {label(value)}" for key, value in point.items())
    return RunRecord(name, "", _with(beside.config, {**point, **follows}), "missing")


def _with(config: Config, values: Point) -> Config:
    """The config with these values, itself left as it was; of a group chosen anew nothing is known but its name."""
    config = {**config}
    if "choices" in config:
        config["choices"] = {**(config["choices"] or {})}
    for key, value in values.items():
        key = key.lstrip("+")
        if key in (config.get("choices") or {}):
            if config["choices"][key] != value:
                config["choices"][key] = value
                config.pop(key, None)
            continue
        *way, last = key.split(".")
        node = config
        for word in way:
            node[word] = {**node[word]} if isinstance(node.get(word), dict) else {}
            node = node[word]
        node[last] = value
    return config
