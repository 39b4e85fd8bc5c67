"""One experiment = one resolved config. From what Hydra composed to a plain, bound dict, and to its digest."""

import functools
import hashlib
import json
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from advarch.errors import InputError
from advarch.runs.units import fraction

Config = dict[str, Any]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it: a folder of many runs is read ten times as fast."""

# OmegaConf derives its loader from what this name stands for: so Hydra composes in four fifths of the time.
yaml.SafeLoader = LOADER  # type: ignore[misc]

NOT_IN_DIGEST = (
    "outputs",
    "in_process",
    "stages",
    "logger",
    "evaluation",
    "analysis",
    "sweep",
    "choices",
    "dataset.root",
    "dataset.eps",
    "dataset.epochs",
    "dataset.classes",
    "dataset.image_shape",
    "dataset.train_images",
    "dataset.download",
    "dataset.workers",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.sync_batchnorm",
    "trainer.threads",
    "initial_weights.file",
    "search.candidates.workers",
)
"""What does not change the weights: paths, loggers, machines, facts (the radius counts in `threat`, the epochs in `trainer`), and what is done with the
weights afterwards."""


def data_root(name: str) -> Path:
    """The folder conf/, sweeps/ or papers/: inside an installed wheel, else in the repository, beside src/ or below tests/."""
    package = Path(__file__).parents[1]
    repository = package.parents[1]
    places = (package / name, repository / name, repository / "tests" / name)
    return next((place for place in places if place.is_dir()), places[0])


def load(path: Path) -> Config:
    """A run folder's config.yaml as plain dicts and lists; no resolver runs, no object is made.

    Raises:
        InputError: there is none, or it isn't a mapping.
    """
    if not path.is_file():
        raise InputError(
            f"expected a run folder with a config.yaml, came {path.parent}; see outputs/ for run folders"
        )
    try:
        value = _parsed(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(
            f"expected YAML in {path}, came text that isn't ({' '.join(str(error).split())})"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"expected a mapping in {path}, came {type(value).__name__}")
    return value


_KEY = re.compile(r"^(?=[A-Za-z_]\w*:(?:\s|$))", re.MULTILINE)
_FOREIGN = re.compile(r"^(?![A-Za-z_]\w*:|[ \n]|- |\Z)|[&*]id\d", re.MULTILINE)


def _parsed(text: str) -> Any:
    """What the YAML says. The runs of a sweep differ in few keys: the text of each key is parsed once.

    Raises:
        YAMLError: it says nothing.
    """
    if not _KEY.match(text) or _FOREIGN.search(text):
        return yaml.load(text, Loader=LOADER)
    try:
        found: Config = {}
        for part in filter(None, _KEY.split(text)):
            found |= _part(part)
        return typing.cast(Config, _copied(found))
    except (yaml.YAMLError, TypeError, ValueError):
        # A value that goes on at the beginning of a line is no part of its own.
        return yaml.load(text, Loader=LOADER)


def _copied(value: Any) -> Any:
    """The mappings and lists of a value anew: what one caller changes, another never sees."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


@functools.lru_cache(maxsize=4096)
def _part(text: str) -> Any:
    return yaml.load(text, Loader=LOADER)


def dump(config: Config) -> str:
    """The config as YAML text."""
    return yaml.safe_dump(config, sort_keys=False, default_flow_style=None, width=110)


def digest(value: Any) -> str:
    """Eight hexadecimal digits of a plain value, in which the order of keys does not count."""
    text = json.dumps(_canonical(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def experiment_digest(config: Mapping[str, Any]) -> str:
    """The digest of all that decides a run's weights."""
    config = _beside(config)
    for path in NOT_IN_DIGEST:
        config = _without(config, path)
    return digest(config)


def _beside(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Teachers that are runs below `outputs` are named from there: moving all runs together changes nothing."""
    defense, root = config.get("defense"), f"{config.get('outputs')}/"
    if not isinstance(defense, Mapping) or not isinstance(teachers := defense.get("teachers"), Mapping):
        return config
    named = {
        name: given.removeprefix(root) if isinstance(given, str) else given
        for name, given in teachers.items()
    }
    return {**config, "defense": {**defense, "teachers": named}}


def _without(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The node without what lies at a path."""
    key, _, rest = path.partition(".")
    if not rest:
        return {name: value for name, value in node.items() if name != key}
    inner = node.get(key)
    return {**node, key: _without(inner, rest)} if isinstance(inner, Mapping) else dict(node)


def _canonical(value: Any) -> Any:
    """Numbers that are equal written alike, whatever form YAML, the command line or a division gave them.

    A key without a value is left out: a new optional key does not make old runs into other experiments.
    """
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    value = fraction(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(float(value)) if float(value) == value else repr(value)
    return value
