"""The columns that a config's evaluation asks for, each with the digest of the settings it is to be computed with. No torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advarch.errors import InputError
from advarch.runs import config as configs
from advarch.runs.config import Config

CLEAN, WORST = "clean", "worst"
VARIED = ("eps", "steps", "restarts")
"""What a grid may vary; the step size follows eps."""


@dataclass(frozen=True)
class ColumnPlan:
    """One column.

    attack: key in `evaluation.attacks`; empty for clean and worst.
    node: the attack's config, `varied` applied; empty for clean and worst.
    varied: what a grid changed.
    share: of the test images, drawn at random with the experiment's seed; None is all.
    members: of the column `worst`, the columns of which it is the worst case.
    source: the run folder on whose network the images are made; empty: on the network that is evaluated.
    settings: digest.
    """

    name: str
    settings: str
    attack: str = ""
    node: Mapping[str, Any] = field(default_factory=dict)
    varied: Mapping[str, float] = field(default_factory=dict)
    share: float | None = None
    members: tuple[str, ...] = ()
    source: str = ""


def plan(config: Config) -> dict[str, ColumnPlan]:
    """Every column, in the order in which it is computed.

    Raises:
        InputError: a grid or a share of an attack that the suite does not have.
    """
    evaluation = config["evaluation"]
    attacks: Mapping[str, Any] = evaluation["attacks"]
    grids, shares = evaluation.get("grids") or {}, evaluation.get("shares") or {}
    worst_case = bool(evaluation.get("worst_case"))
    _check(attacks, grids, shares, worst_case)
    if worst_case and evaluation.get("sources"):
        raise InputError(
            "evaluation.sources: expected no sources with worst_case=true, where each attack sees only what the others left; "
            "ask for separate columns with worst_case=false"
        )
    shared = {"limit": evaluation["limit"], "seed": config["seed"], "threat": config["threat"]}
    if evaluation.get("precision") == "bf16":
        shared["precision"] = "bf16"
    found = {CLEAN: ColumnPlan(CLEAN, configs.digest(shared))}
    before: list[str] = []
    for name, node in attacks.items():
        for varied in [{}, *_points(grids.get(name) or {})]:
            label = name + "".join(f"@{key}={value:g}" for key, value in varied.items())
            setting = {**shared, "attack": node, "varied": varied or None, "share": shares.get(name)}
            if worst_case:
                # Which images it sees depends on the attacks before it.
                setting["before"] = list(before) or None
            digest = configs.digest(setting)
            before.append(digest)
            whole = {**node, **_applied(node, varied)}
            found[label] = ColumnPlan(label, digest, name, whole, varied, shares.get(name))
    for label, folder in named(evaluation.get("sources"), "evaluation.sources").items():
        for name, node in attacks.items():
            # A folder's name holds the digest of all that decides its weights.
            setting = {**shared, "attack": node, "source": Path(folder).name, "share": shares.get(name)}
            column, digest = f"{name}@source={label}", configs.digest(setting)
            found[column] = ColumnPlan(column, digest, name, node, share=shares.get(name), source=folder)
    members = tuple(c.name for c in found.values() if c.attack and not c.share and "eps" not in c.varied)
    if len(members) > 1:
        found[WORST] = ColumnPlan(
            WORST, configs.digest({name: found[name].settings for name in members}), members=members
        )
    return found


def named(folders: Sequence[str] | Mapping[str, str] | None, key: str) -> dict[str, str]:
    """Name -> run folder; in a list a folder's own name is its name.

    Raises:
        InputError: two folders of one name.
    """
    if isinstance(folders, Mapping):
        return dict(folders)
    found: dict[str, str] = {}
    for folder in folders or ():
        name = Path(os.path.abspath(folder)).name
        if name in found:
            raise InputError(
                f"{key}: expected different run folders, came {name} twice; name them: {{a: FOLDER, b: FOLDER}}"
            )
        found[name] = folder
    return found


def _points(grid: Mapping[str, Any]) -> list[dict[str, float]]:
    return [{key: value} for key, values in grid.items() for value in values]


def _applied(node: Mapping[str, Any], varied: Mapping[str, float]) -> dict[str, Any]:
    """The keys of an attack's config that a grid changes."""
    changed: dict[str, Any] = {}
    for key, value in varied.items():
        if key != "eps":
            changed[key] = value
            continue
        if "attacks" in node:
            changed["attacks"] = {
                n: {**part, **_applied(part, varied)} for n, part in node["attacks"].items()
            }
            continue
        before = node.get("threat", {}).get("eps")
        changed["threat"] = {**node.get("threat", {}), "eps": value}
        for step in ("step_size", "random_step"):
            if before and isinstance(node.get(step), (int, float)):
                changed[step] = node[step] * value / before
    return changed


def _check(
    attacks: Mapping[str, Any], grids: Mapping[str, Any], shares: Mapping[str, Any], worst_case: bool
) -> None:
    for key, named in (("grids", grids), ("shares", shares)):
        for name in named:
            if name not in attacks:
                raise InputError(
                    f"evaluation.{key}.{name}: expected one of the suite's attacks ({', '.join(attacks)}), "
                    f"came {name!r}; add it to evaluation.attacks"
                )
    for name in attacks:
        if name in (CLEAN, WORST) or "/" in name:
            raise InputError(
                f"evaluation.attacks.{name}: expected a name for the column, came {name!r}; choose another"
            )
    if worst_case and (grids or shares):
        raise InputError(
            "evaluation.worst_case: expected no grids and no shares with worst_case=true, where each attack "
            "sees only what the others left; ask for separate columns with worst_case=false"
        )
    for name, grid in grids.items():
        for key, values in (grid or {}).items():
            if key not in VARIED or not isinstance(values, list):
                raise InputError(
                    f"evaluation.grids.{name}.{key}: expected a list of values of one of {', '.join(VARIED)}, "
                    f"came {values!r}; write e.g. {{eps: [0.01, 0.02]}}"
                )
            if key != "eps" and "attacks" in attacks[name]:
                raise InputError(
                    f"evaluation.grids.{name}.{key}: expected eps for a sequence of attacks, came {key}; "
                    "give its parts their settings"
                )
            if key != "eps" and key not in attacks[name]:
                raise InputError(f"evaluation.grids.{name}.{key}: {name} has no {key}; vary eps instead")
    for name, share in shares.items():
        if not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise InputError(f"evaluation.shares.{name}: expected a share in (0, 1], came {share!r}")
