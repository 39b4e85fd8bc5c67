"""Runs gathered into rows: the same labels, another seed. And how a config's value is written as a label."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.reports.shape import nearest

ABSENT = object()

INCIDENTAL = (
    "seed",
    "outputs",
    "logger",
    "sweep",
    "stages",
    "in_process",
    "evaluation",
    "analysis",
    "choices",
)
"""First words of config keys in which two runs of one row may differ."""

INCIDENTAL_LAST = ("seed", "root", "download", "workers", "accelerator", "devices", "num_nodes", "threads")
"""Last words of such keys: where the data lies and what machine it ran on."""


@dataclass(frozen=True)
class Group:
    """One row before it is a row: the values of its label keys and its runs, one a seed."""

    values: tuple[Any, ...]
    labels: tuple[str, ...]
    runs: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        """All labels in one text."""
        return ", ".join(self.labels)


def gather(keys: Sequence[str], runs: Iterable[RunRecord]) -> tuple[Group, ...]:
    """The rows, in the order in which the runs come.

    Raises:
        InputError: no run's config has that key.
    """
    runs = tuple(runs)
    found: dict[str, list[RunRecord]] = {}
    for key in keys:
        if runs and all(lookup(run.config, key) is ABSENT for run in runs):
            known = dict.fromkeys(name for run in runs for name, _ in flatten(run.config))
            raise InputError(f"expected sweep.rows to name config keys, came '{key}'; {nearest(key, known)}")
    for run in runs:
        values = [lookup(run.config, key) for key in keys]
        found.setdefault(json.dumps(values, default=str), []).append(run)
    return tuple(_group(keys, tuple(members)) for members in found.values())


def lookup(config: dict[str, Any], key: str) -> Any:
    """The value at a dotted key, or ABSENT."""
    value: Any = config
    for word in key.split("."):
        if not isinstance(value, dict) or word not in value:
            return ABSENT
        value = value[word]
    return value


def flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and their values, mappings opened."""
    pairs: list[tuple[str, Any]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        pairs += flatten(value, f"{name}.") if isinstance(value, dict) else [(name, value)]
    return pairs


def differing(group: Group) -> tuple[str, ...]:
    """Config keys, seeds aside, in which the runs of one row differ: they should not be averaged."""
    configs = [dict(flatten(run.config)) for run in group.runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    return tuple(
        key for key in keys if not _incidental(key) and len({_of_any_seed(c, key) for c in configs}) > 1
    )


def headings(keys: Sequence[str]) -> tuple[str, ...]:
    """The last word of each key, or the whole key where two end alike."""
    short = [key.rsplit(".", 1)[-1] for key in keys]
    return tuple(name if short.count(name) == 1 else key for name, key in zip(short, keys, strict=True))


def label(value: Any, key: str = "") -> str:
    """A config's value as a reader writes it: [1, 2, 1] -> 1-2-1, eps 0.03137 -> 8/255."""
    if value is ABSENT or value is None:
        return "none"
    if isinstance(value, list | tuple):
        return "-".join(label(item) for item in value) or "none"
    if isinstance(value, dict):
        return label(value.get("name", str(value.get("_target_", value)).rsplit(".", 1)[-1]))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return pixels(value) if key.endswith(("eps", "step_size")) else f"{value:g}"
    return printable(str(value))


def pixels(value: float) -> str:
    """A length in [0, 1]: as a decimal where that is short (0.3), else as k/255 where it is one."""
    steps = round(255 * value)
    if len(f"{value:g}") <= 4:
        return f"{value:g}"
    # A column's name has six digits of it.
    return f"{steps}/255" if 0 < steps < 255 and abs(255 * value - steps) < 1e-4 else f"{value:g}"


def norm_word(norm: str) -> str:
    """A norm as papers write it: inf -> l∞."""
    return {"inf": "l∞", "2": "l2", "2.0": "l2"}.get(norm.removeprefix("l").removeprefix("_"), norm)


def sort_key(value: Any) -> float | str:
    """What a label sorts by: numbers by size, lists of numbers element by element."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple):
        return " ".join(f"{v:016.6f}" if isinstance(v, int | float) else str(v) for v in value)
    return label(value)


def printable(text: str) -> str:
    """One line without control characters: an error's text must not steer a terminal."""
    plain = text.isprintable()
    return (text if plain else "".join(c if c.isprintable() else " " for c in text)).strip()


def _group(keys: Sequence[str], runs: tuple[RunRecord, ...]) -> Group:
    found = (lookup(runs[0].config, key) for key in keys)
    values = tuple(None if value is ABSENT else value for value in found)
    return Group(values, tuple(label(value, key) for value, key in zip(values, keys, strict=True)), runs)


def _of_any_seed(config: dict[str, Any], key: str) -> str:
    """The value as text, the seed in a path to another run (-s0-) left open: each seed may learn from its own teachers."""
    return str(config.get(key)).replace(f"-s{config.get('seed')}-", "-s*-")


def _incidental(key: str) -> bool:
    words = key.split(".")
    return words[0] in INCIDENTAL or words[-1] in INCIDENTAL_LAST
