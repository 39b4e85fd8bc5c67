"""The papers' networks: exact sizes, and what the papers print. No torch."""

import csv
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advarch.records import Size
from advarch.runs.config import Config, data_root


@dataclass(frozen=True)
class Published:
    """A row of the table: a network at a number of classes and an image shape, counted and printed.

    `printed` is as in the source: "46.16M" parameters, "6.7G" multiply-adds, ">80M"; empty where no paper gives a size. `reason`
    says why the count does not round to it, and is empty where it does.
    """

    network: str
    overrides: str
    classes: int
    image: tuple[int, int, int]
    size: Size
    printed: str
    source: str
    reason: str


@cache
def table() -> tuple[Published, ...]:
    """Every row, in the order of the file tests/papers/sizes.csv, which travels in the wheel."""
    with (data_root("papers") / "sizes.csv").open(newline="") as file:
        return tuple(_row(cells) for cells in csv.DictReader(file))


@cache
def node(network: str, overrides: str) -> Any:
    """The network's config as `backbone=NETWORK` and the overrides compose it, without Hydra's second of composing."""
    words = overrides.split()
    chosen = tuple(word.removeprefix("backbone@backbone.") for word in words if "@" in word)
    given = OmegaConf.from_dotlist([word.removeprefix("backbone.") for word in words if "@" not in word])
    return OmegaConf.to_container(OmegaConf.merge(_choice(network, chosen), given), resolve=True)


def rows_of(config: Config) -> list[Published]:
    """The rows about the config's network, whatever its classes and images."""
    name = config["choices"]["backbone"]
    return [
        row
        for row in table()
        if row.network == name and node(row.network, row.overrides) == config["backbone"]
    ]


def _row(cells: dict[str, str]) -> Published:
    channels, height, width = (int(number) for number in cells["image"].split("x"))
    size = Size(int(cells["parameters"]), int(cells["macs"]), activations=int(cells["activations"]))
    return Published(
        cells["network"],
        cells["overrides"],
        int(cells["classes"]),
        (channels, height, width),
        size,
        cells["printed"],
        cells["source"],
        cells["reason"],
    )


@cache
def _choice(name: str, chosen: tuple[str, ...] = ()) -> DictConfig:
    """The group's YAML of that name on top of those it names as its defaults, `chosen` ("base=resnet18") in place of theirs."""
    path = data_root("conf") / "backbone" / f"{name}.yaml"
    own = OmegaConf.load(path)
    assert isinstance(own, DictConfig)
    parts = [_default(other, own, chosen) for other in own.pop("defaults", [])]
    whole = OmegaConf.merge(*parts, own)
    assert isinstance(whole, DictConfig)
    return whole


def _default(entry: str | DictConfig, own: DictConfig, chosen: tuple[str, ...]) -> Any:
    """An entry of a defaults list: the file itself, another network, or {/backbone@PLACE: network}, a network within this one."""
    if isinstance(entry, str):
        return own if entry == "_self_" else _choice(entry)
    ((key, name),) = entry.items()
    place = str(key).rpartition("@")[2]
    names = [name, *(word.partition("=")[2] for word in chosen if word.startswith(f"{place}="))]
    return {place: _choice(names[-1])}
