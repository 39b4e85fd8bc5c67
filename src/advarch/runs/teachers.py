"""The networks that a defense learns from, named in its config as run folders or files of weights."""

import glob
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advarch.errors import InputError
from advarch.runs import weights
from advarch.runs.build import build_model
from advarch.runs.config import Config
from advarch.runs.networks import config_of_run


def taught(
    defense: Callable[..., Any],
    config: Config,
    *,
    classes: int,
    image_shape: tuple[int, int, int],
    device: torch.device,
) -> Callable[..., Any]:
    """The defense with the networks that `defense.teachers` names, frozen and in eval mode; without teachers as it is.

    Args:
        defense: as it was made from the config.
        config: the run's, bound.
        classes: of the images that are learned.
        image_shape: of these images.
        device: where they lie.

    Raises:
        InputError: a teacher that is not named, not there, or made for other images.
    """
    named: Mapping[str, Any] | None = config["defense"].get("teachers")
    if named is None:
        return defense
    networks = {}
    for name, given in named.items():
        try:
            network = _network(given, config, classes, image_shape)
        except InputError as error:
            raise InputError(f"defense.teachers.{name}: {error}") from None
        networks[name] = network.eval().requires_grad_(False).to(device)
    return partial(defense, teachers=networks)


def _network(given: Any, config: Config, classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    if not isinstance(given, str):
        raise InputError(
            f"expected a trained run's folder or a file of weights, came {given!r}; train the teacher first, then name it"
        )
    path = found(given)
    own = config_of_run(path) if path.is_dir() else config
    network = build_model(own, classes=classes, image_shape=image_shape)
    if path.is_dir():
        weights.load_into(network, path / weights.FILES["best"])
    else:
        weights.load_any(network, path)
    return network


def found(given: str) -> Path:
    """The path itself, or the one that a pattern (runs/*-natural-s0-*) matches: a sweep can't know its teachers' digests."""
    if Path(given).exists() or not glob.has_magic(given):
        return Path(given)
    matches = sorted(glob.glob(given))
    if len(matches) != 1:
        raise InputError(
            f"expected {given!r} to match one run's folder or file, it matches {len(matches)}; write more of its name"
        )
    return Path(matches[0])
