"""A composed config as plain dicts and lists, every interpolation resolved; of many that differ in few values, each part once."""

import copy
import re
from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advarch.errors import InputError
from advarch.runs.config import Config

_INTERPOLATION = re.compile(r"\$\{([^:{}$]*)(:?)")

Place = tuple[str, ...]
"""The first words of a value's name, two at most: (trainer, max_epochs), (seed,)."""

RESOLVERS: dict[str, list[Place]] = {"times_eps": [("threat", "eps")], "px": [], "oc.env": []}
"""What each resolver reads of a config; any other may read all of it."""


def plain(config: DictConfig) -> Config:
    """The config as plain dicts and lists, Hydra's own node left out.

    Raises:
        InputError: a value that is missing (???) or an interpolation that leads nowhere.
    """
    return Resolved(config).plain(config, ())


class Resolved:
    """What is resolved of a config, for others that differ from it in some values: resolving all takes a tenth of a second."""

    def __init__(self, config: DictConfig) -> None:
        raw = OmegaConf.to_container(config)
        assert isinstance(raw, dict)
        self._raw = {str(key): value for key, value in raw.items() if key != "hydra"}
        self._reached: dict[Place, set[Place]] = {}
        self._plain: dict[Place, Any] = {}

    def plain(self, config: DictConfig, changed: Iterable[str]) -> Config:
        """The config as plain dicts and lists.

        Args:
            config: differs from the first one in nothing but these of its values.
            changed: the values' full names, as trainer.max_epochs.

        Raises:
            InputError: a value that is missing (???) or an interpolation that leads nowhere.
        """
        places = [tuple(name.split(".")[:2]) for name in changed]
        try:
            return {str(key): self._root(config, str(key), places) for key in config if key != "hydra"}
        except OmegaConfBaseException as error:
            name = getattr(error, "full_key", None)
            raise InputError(f"{name or 'config'}: {str(error).splitlines()[0]}") from None

    def _root(self, config: DictConfig, key: str, changed: Sequence[Place]) -> Any:
        """One root of the config, of those that are mappings each value by itself."""
        node = config[key]
        if not isinstance(self._raw.get(key), dict) or not isinstance(node, DictConfig) or (key,) in changed:
            return _resolved(node)
        return {name: self._value((key, name), node, changed) for name in map(str, node)}

    def _value(self, place: Place, root: DictConfig, changed: Sequence[Place]) -> Any:
        if any(_meet(read, new) for read in self._reads(place) for new in changed):
            return _resolved(root[place[1]])
        if place not in self._plain:
            self._plain[place] = _resolved(root[place[1]])
        return copy.deepcopy(self._plain[place])

    def _reads(self, place: Place) -> set[Place]:
        """The places that a value is made of, its own among them."""
        if place not in self._reached:
            found: set[Place] = set()
            waiting = [place]
            while waiting:
                each = waiting.pop()
                if each not in found:
                    found.add(each)
                    waiting += self._named(each)
            self._reached[place] = found
        return self._reached[place]

    def _named(self, place: Place) -> list[Place]:
        """The places that the interpolations in a value name."""
        raw: Any = self._raw
        for word in place:
            raw = raw.get(word) if isinstance(raw, dict) else None
        found: list[Place] = []
        for name, resolver in _INTERPOLATION.findall(str(raw)):
            words = tuple(re.split(r"[.\[]", name.strip())[:2])
            if resolver:
                found += RESOLVERS.get(name.strip(), self._everything())
            else:
                # Relative ones, and those whose name is itself made of others, may lead anywhere.
                found += [words] if all(words) else self._everything()
        return found

    def _everything(self) -> list[Place]:
        return [(key,) for key in self._raw]


def _meet(one: Place, other: Place) -> bool:
    """Whether one place is the other or holds it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _resolved(value: Any) -> Any:
    """A node within its config, so that interpolations find their way to other nodes."""
    if not OmegaConf.is_config(value):
        return value
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
