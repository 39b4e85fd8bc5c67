"""The measures that a config's analysis asks for, each with the digest of the settings it is to be computed with. No torch."""

from collections.abc import Mapping
from typing import Any

from advarch.errors import InputError
from advarch.runs import columns
from advarch.runs import config as configs
from advarch.runs.config import Config

COLUMN = "column"
"""The key of a measure that is made of columns of the evaluation: its attack's name there."""


def measure_settings(config: Config) -> dict[str, str]:
    """The digest of every measure's settings, by its name.

    Raises:
        InputError: a grid that the evaluation's attack does not have.
    """
    analysis = config["analysis"]
    shared = {
        "limit": analysis["limit"],
        "seed": config["seed"],
        "threat": config["threat"],
        "attack": analysis["attack"],
    }
    found = {}
    for name, node in analysis["measures"].items():
        if name not in (analysis["only"] or analysis["measures"]):
            continue
        setting = {**shared, "measure": node}
        if node.get(COLUMN) in config["evaluation"]["attacks"]:
            planned = columns.plan(columns_config(config, node))
            setting = {"measure": node, "columns": {key: column.settings for key, column in planned.items()}}
        found[name] = configs.digest(setting)
    return found


def columns_config(config: Config, node: Mapping[str, Any]) -> Config:
    """The config whose evaluation has the columns that a measure is made of: one attack, its radii and steps varied.

    What the attack has anyway is left out of the grid. Columns that are alike in the config's own evaluation have the same
    settings there, so none is computed twice.

    Raises:
        InputError: the evaluation has no such attack.
    """
    evaluation, name = config["evaluation"], node[COLUMN]
    if name not in evaluation["attacks"]:
        raise InputError(
            f"{COLUMN}: expected an attack of the evaluation ({', '.join(evaluation['attacks'])}), came {name!r}; "
            "name one of these, or add it to evaluation.attacks"
        )
    attack = evaluation["attacks"][name]
    own = {"eps": config["threat"]["eps"], "steps": attack.get("steps")}
    grid = {key: [value for value in node.get(key) or () if value != own[key]] for key in own}
    share = (evaluation.get("shares") or {}).get(name)
    changed = {
        "attacks": {name: attack},
        "grids": {name: {key: values for key, values in grid.items() if values}},
        "shares": {} if share is None else {name: share},
        "worst_case": False,
        "sources": None,
        "probe": False,
        "save_images": False,
        "gallery": 0,
    }
    return {**config, "evaluation": {**evaluation, **changed}}
