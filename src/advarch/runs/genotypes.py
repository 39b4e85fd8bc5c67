"""Genotypes in a config: one named by a file becomes part of it, so that the digest is of the cells, not of a path; one that a
search is to find is filled in when it is found."""

from dataclasses import fields
from pathlib import Path
from random import Random

from advarch.errors import InputError
from advarch.genotype import stored
from advarch.genotype.cell import Genotype
from advarch.genotype.published import is_code, is_file, resolve
from advarch.genotype.space import Space
from advarch.genotype.stored import FILE, SEARCHED
from advarch.runs.config import Config


def with_genotype(config: Config) -> Config:
    """The config with the content of the file that `backbone.genotype` names in its place. A code is read, and stays.

    Raises:
        InputError: no such file, or no genotype in it, or none in the code.
    """
    spec = _genotype(config)
    if not isinstance(spec, str) or not (is_file(spec) or is_code(spec)):
        return config
    try:
        genotype = resolve(spec)
    except InputError as error:
        raise InputError(f"backbone.genotype: {str(error).removeprefix('genotype: ')}") from None
    return _filled(config, genotype) if is_file(spec) else config


def awaits_search(config: Config) -> bool:
    """Whether the network's cells are what the run's own search finds."""
    return _genotype(config) == SEARCHED


def with_found(config: Config, folder: Path) -> Config:
    """The config with the cells that the search in this run folder found, once it has.

    Raises:
        InputError: genotype.json is damaged.
    """
    if not awaits_search(config) or not (folder / FILE).is_file():
        return config
    return _filled(config, stored.read(folder / FILE))


def with_stand_in(config: Config) -> Config:
    """The config with some cells of the search's space where its result is awaited: to rehearse and to estimate with."""
    return _filled(config, stand_in(config)) if awaits_search(config) else config


def stand_in(config: Config) -> Genotype:
    """Some cells of the search's space."""
    return search_space(config["search"]).sample(Random(0), "stand_in")


def on_trial(config: Config, genotype: Genotype, *, inherit: bool, changes: Config | None) -> Config:
    """The config with the network in which its search tries these cells.

    Args:
        inherit: of the supernet's shape, whose weights it takes; else as in the end.
        changes: keys of the network that differ on trial.

    Raises:
        InputError: the config's network has no cells.
    """
    base = config["backbone"]
    if inherit:
        supernet = config["search"]["supernet"]
        shape = {key: supernet[key] for key in ("cells", "channels", "affine", "activation")}
        base = {"_target_": "advarch.backbones.cell_net.CellNet", "_partial_": True, "stem": "cifar"} | shape
    elif "genotype" not in base:
        raise InputError(
            f"backbone: expected a network of cells to put candidates into, came {base['_target_']}; "
            "set backbone=searched"
        )
    return _filled({**config, "backbone": base | (changes or {})}, genotype)


def search_space(search: Config) -> Space:
    """The cells that a search is among: those of its supernet, without one its own.

    Raises:
        InputError: numbers that make no space.
    """
    node = search["supernet"]["space"] if "supernet" in search else search["space"]
    known = {field.name for field in fields(Space)}
    return Space(**{key: value for key, value in node.items() if key in known})


def _genotype(config: Config) -> object:
    backbone = config.get("backbone")
    return backbone.get("genotype") if isinstance(backbone, dict) else None


def _filled(config: Config, genotype: Genotype) -> Config:
    return {**config, "backbone": {**config["backbone"], "genotype": stored.to_plain(genotype)}}
