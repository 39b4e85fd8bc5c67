"""A paper's sweep at another scale: the same rows, their networks small, their images such as are there."""

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from advarch.errors import InputError
from advarch.genotype.published import resolve
from advarch.genotype.stored import SEARCHED
from advarch.runs.config import Config, data_root
from advarch.runs.units import fraction

LENGTHS = ("eps", "step_size", "std", "start_std", "noise_std")
"""Keys of attacks and defenses that are lengths in the space of images, and grow with the ball."""

KEPT = ("batch_size", "limit", "seed")
"""Keys of a dataset that its stand-in takes over."""

NO_LENGTHS = ("grids", "supernet", "optimizer", "arch_optimizer")
"""Nodes whose keys of such names stay: radii that name columns, and what has nothing to do with images."""


def shrunk(config: Config) -> Config:
    """The config of a job of a paper's sweep (one with a source) as its scale has it; any other, and the paper's scale, as it is.

    The rules are in conf/scale/_tiny.yaml and leave the config here. A dataset's stand-in brings its own radius, and every
    length of attacks and defenses, a search's too, changes with it, so that a step of eps/4 stays one. Radii of a grid
    (evaluation.grids) stay, for they name columns.
    """
    rules = config.get("shrink")
    config = {key: value for key, value in config.items() if key != "shrink"}
    if not rules or not (config.get("sweep") or {}).get("source"):
        return config
    networks = rules.get("networks") or {}
    if not _small_already(config["choices"]):
        for key in ("backbone", "search"):
            config[key] = smaller(config[key], networks)
    config["search"] = _shorter(config["search"], rules.get("search") or {})
    if "batch_size" in rules:
        config["dataset"] = _at_most(config["dataset"], "batch_size", rules["batch_size"])
    stand_in = (rules.get("datasets") or {}).get(config["choices"]["dataset"])
    return _elsewhere(config, stand_in) if stand_in else config


def _small_already(choices: Mapping[str, Any]) -> bool:
    """Whether conf/scale/search has the chosen search at this scale, network included."""
    chosen = str(choices.get("scale/search", ""))
    return (data_root("conf") / "scale" / "search" / f"{chosen}.yaml").is_file()


def smaller(value: Any, networks: Mapping[str, Any]) -> Any:
    """A node's network, and those within it, by the rules for its class."""
    if not isinstance(value, Mapping):
        return value
    rules = networks.get(str(value.get("_target_", "")).rpartition(".")[2], {})
    return {
        key: multiplied(item, *rules[key]) if key in rules and _free(key, value) else smaller(item, networks)
        for key, item in value.items()
    }


def multiplied(value: Any, factor: float, multiple: float, last: int | None = None) -> Any:
    """Every number times the factor, rounded up to the next multiple; zeros and what is no number stay.

    Args:
        value: a number or a list.
        factor: below 1.
        multiple: of which the results are multiples.
        last: keep so many items of a list, from its end.
    """
    if isinstance(value, list):
        return [multiplied(item, factor, multiple) for item in (value[-last:] if last else value)]
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    number = math.ceil(round(value * factor / multiple, 9)) * multiple
    return int(number) if float(number).is_integer() else number


def _shorter(search: Mapping[str, Any], most: Mapping[str, int]) -> dict[str, Any]:
    """A search of at most so many epochs, the first half of them warm-up at most, so many candidates, and steps of an attack in between."""
    found = dict(search)
    if "steps" in most and found.get("validation_attack"):
        found["validation_attack"] = _at_most(found["validation_attack"], "steps", most["steps"])
    if "epochs" in most and "epochs" in found:
        found["epochs"] = min(found["epochs"], most["epochs"])
        if "warmup" in (found.get("method") or {}):
            warmup = min(found["method"]["warmup"], found["epochs"] // 2)
            found["method"] = {**found["method"], "warmup": warmup}
    candidates = found.get("candidates")
    if "candidates" in most and candidates and "count" in (candidates.get("sampler") or {}):
        sampler = _at_most(candidates["sampler"], "count", most["candidates"])
        found["candidates"] = {**candidates, "sampler": sampler}
    return found


def _at_most(node: Mapping[str, Any], key: str, most: int) -> dict[str, Any]:
    return {**node, key: min(node[key], most)}


def _free(key: str, node: Mapping[str, Any]) -> bool:
    """Whether the key may change: a genotype with a cell for every place, or attention given for each module, fixes their number."""
    if key == "modules" and (
        node["attention_init"] == "published" or isinstance(node["attention_init"], list)
    ):
        return False
    genotype = node.get("genotype")
    if key != "cells" or not isinstance(genotype, str) or genotype == SEARCHED:
        return True
    return resolve(genotype).layout != "each"


def _elsewhere(config: Config, name: str) -> Config:
    """The config on another dataset, as the group has it."""
    folder = data_root("conf") / "dataset"
    own = OmegaConf.merge(*(OmegaConf.load(folder / f"{part}.yaml") for part in ("_shared", name)))
    whole = OmegaConf.to_container(OmegaConf.create({"seed": config["seed"], "dataset": own}), resolve=True)
    assert isinstance(whole, dict)
    dataset = {key: value for key, value in whole["dataset"].items() if key != "defaults"}
    dataset |= {key: config["dataset"][key] for key in KEPT}
    before, after = fraction(config["threat"]["eps"]), fraction(dataset["eps"])
    if not isinstance(before, int | float) or not isinstance(after, int | float) or not before:
        raise InputError(f"threat.eps: expected a radius above 0, came {config['threat']['eps']!r}")
    changed = {
        key: _grown(config[key], after / before)
        for key in ("threat", "attack", "defense", "search", "validation", "evaluation", "analysis")
    }
    return {**config, **changed, "dataset": dataset, "choices": {**config["choices"], "dataset": name}}


def _grown(value: Any, factor: float) -> Any:
    """Every length in a node times the factor."""
    if not isinstance(value, Mapping):
        return value
    grown: dict[str, Any] = {}
    for key, item in value.items():
        length = fraction(item) if key in LENGTHS else None
        if isinstance(length, int | float) and not isinstance(length, bool):
            grown[key] = length * factor
        else:
            grown[key] = item if key in NO_LENGTHS else _grown(item, factor)
    return grown
