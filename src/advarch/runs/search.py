"""From a bound config to a supernet and the method that searches it."""

import inspect
from typing import Any

import torch
from torch import nn

from advarch.backbones.normalised import normalised
from advarch.defenses.contract import Remembers, name_of
from advarch.errors import InputError
from advarch.metrics.cost import size
from advarch.noise import derive_seed
from advarch.records import Size
from advarch.runs import weights
from advarch.runs.build import make
from advarch.runs.config import Config
from advarch.runs.teachers import found
from advarch.search.method import SearchMethod


def build_supernet(
    config: Config, *, classes: int, image_shape: tuple[int, int, int]
) -> tuple[nn.Module, nn.Module]:
    """The supernet, and itself on images in [0, 1]; its weights are drawn from the experiment's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config["seed"], "supernet"))
        node = config["search"]["supernet"]
        supernet: nn.Module = make("search.supernet", node, classes=classes, in_channels=image_shape[0])
    dataset = config["dataset"]
    return supernet, normalised(supernet, dataset.get("mean"), dataset.get("std"))


def load_backbone(config: Config, supernet: nn.Module) -> None:
    """Give the backbone that a supernet dilates the weights that `search.pretrained` names: a run's folder, or a file.

    Raises:
        InputError: weights of another network, or none for a backbone that is to stay as it is.
    """
    search = config["search"]
    given = search.get("pretrained")
    if given is None:
        if search["method"].get("backbone") == "pretrained_frozen":
            raise InputError(
                "search.pretrained: expected a trained run's folder or a file of weights for a frozen backbone, came null; "
                "train it first, method=nadar_standard"
            )
        return
    base = getattr(supernet, "base", None)
    if not isinstance(base, nn.Module):
        raise InputError(f"search.pretrained: expected null for a search without a backbone, came {given!r}")
    dataset = config["dataset"]
    network = normalised(base, dataset.get("mean"), dataset.get("std"))
    try:
        path = found(given)
        if path.is_dir():
            weights.load_into(network, path / weights.FILES["best"])
        else:
            weights.load_any(network, path)
    except InputError as error:
        raise InputError(
            f"search.pretrained: {error}; name a trained run's folder, or a file of weights"
        ) from None


def build_method(config: Config, supernet: nn.Module, model: nn.Module) -> SearchMethod:
    """The method on that supernet; it is handed `model`, `defense` and `attack` where its signature has them.

    Raises:
        InputError: a defense that remembers images or batches.
    """
    search = config["search"]
    taken = inspect.signature(make("search.method", search["method"])).parameters
    given: dict[str, Any] = {"supernet": supernet}
    if "model" in taken:
        given["model"] = model
    for name in ("defense", "attack"):
        if name in taken:
            given[name] = make(f"search.{name}", search[name])
    if isinstance(given.get("defense"), Remembers):
        raise InputError(
            f"search.defense: expected one without memory, which would mix both levels, came {name_of(given['defense'])}; "
            "choose defense@search.defense=pgd_at"
        )
    method: SearchMethod = make("search.method", search["method"], **given)
    return method


def supernet_size(config: Config, *, classes: int, image_shape: tuple[int, int, int]) -> Size:
    """The supernet's size, the architecture's parameters among its own, counted without making its weights."""
    return size(lambda: build_supernet(config, classes=classes, image_shape=image_shape)[1], image_shape)
