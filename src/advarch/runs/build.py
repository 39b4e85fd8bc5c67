"""From a bound config to objects: data, network, attack, defense."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from advarch.backbones.normalised import normalised
from advarch.datasets.experiment_data import ExperimentData
from advarch.defenses.contract import AT_START
from advarch.defenses.fat import stopped_early
from advarch.defenses.iaat import refuse_one_radius
from advarch.errors import InputError
from advarch.metrics.cost import size
from advarch.noise import derive_seed
from advarch.records import Size
from advarch.runs.columns import plan
from advarch.runs.config import Config
from advarch.runs.genotypes import search_space, with_stand_in
from advarch.runs.measures import measure_settings
from advarch.search.candidates import Candidates


def make(path: str, node: Any, **given: Any) -> Any:
    """The object that a config node with a `_target_` describes.

    A ValueError of the constructor is about the node's values, so it becomes an InputError that names the node.
    """
    try:
        made = instantiate(OmegaConf.create(node), _convert_="all")
        return made(**given) if given else made
    except InputError as error:
        raise _named(path, error) from None
    except Exception as error:
        cause = error if isinstance(error, ValueError) else error.__cause__
        if isinstance(cause, InputError):
            raise _named(path, cause) from None
        if isinstance(cause, ValueError):
            message = " ".join(str(cause).split())
            named = message.split(":")[0]
            where = f"{path}.{message}" if named in node else f"{path}: {message}"
            raise InputError(where) from None
        raise


def _named(path: str, error: InputError) -> InputError:
    return error if str(error).startswith(path) else InputError(f"{path}: {error}")


def load_data(config: Config) -> ExperimentData:
    """The experiment's images and splits."""
    data: ExperimentData = make("dataset", config["dataset"])
    return data


def build_model(config: Config, *, classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """The network on images in [0, 1], its weights drawn from the experiment's seed; the global random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config["seed"], "weights"))
        network: nn.Module = make("backbone", config["backbone"], classes=classes, in_channels=image_shape[0])
    return normalised(network, config["dataset"].get("mean"), config["dataset"].get("std"))


def model_builder(config: Config, data: ExperimentData) -> Callable[[], nn.Module]:
    """A function that builds the experiment's network anew."""
    return lambda: build_model(config, classes=len(data.classes), image_shape=data.image_shape)


def rehearse(config: Config) -> None:
    """Make everything that can be made without data, so that a bad value is found before anything starts."""
    for path in ("threat", "attack", "defense", "evaluation", "analysis", "schedule", "trainer"):
        rehearse_node(path, config[path])
    _refuse_attack(config)
    if config.get("averaging") is not None:
        rehearse_node("averaging", config["averaging"])
    plan(config)
    measure_settings(config)
    rehearse_node("validation.attack", config["validation"]["attack"])
    rehearse_node("optimizer", config["optimizer"], params=[torch.zeros(1, requires_grad=True)])
    if config["search"].get("candidates") is not None:
        _rehearse_candidates(config["search"])
    if config.get("stop") is not None:
        rehearse_node("stop", config["stop"])
        if (every := config["validation"]["every"]) != 1:
            raise InputError(
                f"validation.every: expected 1 with a stop, since any epoch may be the last, came {every}; set it to 1"
            )
    with torch.device("meta"):
        rehearse_node("backbone", with_stand_in(config)["backbone"], classes=10, in_channels=3)
    if config["search"].get("method"):
        _rehearse_search(config["search"])


_MADE: set[str] = set()
"""What could be made before: the jobs of a sweep differ in few nodes."""


def rehearse_node(path: str, node: Any, **given: Any) -> None:
    """Make what a bound node describes, and forget it.

    Raises:
        InputError: whatever goes wrong comes from the node's values: nothing else has been touched yet.
    """
    described = json.dumps([path, node], sort_keys=True, default=str)
    if described in _MADE:
        return
    try:
        made = make(path, node, **given)
    except InputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: can't be made from its values ({type(error).__name__}: {text})") from None
    if isinstance(made, (dict, list, str, int)):
        raise InputError(f"{path}: expected a choice of the group, came {made!r}; advarch --help lists them")
    _MADE.add(described)


def _rehearse_candidates(search: Config) -> None:
    """Raises InputError for more candidates than cells, weights to inherit or to look at where there are none, or none to judge."""
    settings: Candidates = make("search.candidates", search["candidates"])
    for key, unset in (("inherit", "false"), ("gate", "null")):
        if getattr(settings, key) and "supernet" not in search:
            raise InputError(
                f"search.candidates.{key}: expected a search with a supernet, came one without; set it {unset}"
            )
    if settings.epochs == 0 and not settings.inherit:
        raise InputError(
            "search.candidates.epochs: expected 1 or more without inherit, came 0; set inherit=true"
        )
    if settings.judge_inherited and not (settings.inherit and settings.epochs != 0):
        raise InputError(
            "search.candidates.judge_inherited: expected candidates that inherit and are then trained, came others; set it null"
        )
    if settings.flow is not None and settings.epochs != 0:
        raise InputError(
            f"search.candidates.flow: expected candidates that are not trained, came epochs {settings.epochs}; set it null"
        )
    try:
        settings.sampler(search_space(search), random=Random(0))
    except InputError as error:
        raise InputError(f"search.candidates.sampler.{error}") from None


def _rehearse_search(search: Config) -> None:
    """The supernet, what trains it, and its optimizers; the method needs weights, so its values are checked by binding alone."""
    with torch.device("meta"):
        rehearse_node("search.supernet", search["supernet"], classes=10, in_channels=3)
    for path in ("method", "defense", "attack", "validation_attack"):
        if search.get(path) is not None:
            rehearse_node(f"search.{path}", search[path])
    for path in ("optimizer", "arch_optimizer"):
        if path in search:
            rehearse_node(f"search.{path}", search[path], params=[torch.zeros(1, requires_grad=True)])


def _refuse_attack(config: Config) -> None:
    """Raises InputError for an attack that the defense can't train with: friendly ones stop early, adaptive ones take radii."""
    node, attack = config["defense"], make("attack", config["attack"])
    if "taus" in node:
        stopped_early(attack, node["taus"], node["milestones"], AT_START)
    if str(node["_target_"]).endswith(".IAAT"):
        refuse_one_radius(attack)


def size_of(config: Config, *, classes: int, image_shape: tuple[int, int, int]) -> Size:
    """The network's size, counted without making its weights."""
    return size(lambda: build_model(config, classes=classes, image_shape=image_shape), image_shape)
