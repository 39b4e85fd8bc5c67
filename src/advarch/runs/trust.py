"""Which objects a config may name: ours, and those of the packages that the command line trusts."""

import importlib
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advarch.errors import InputError

TRUSTED = (
    *(
        f"advarch.{room}."
        for room in (
            "attacks",
            "backbones",
            "datasets",
            "defenses",
            "evaluation",
            "lit",
            "metrics",
            "search",
            "threat",
        )
    ),
    "advarch.genotype.space.",
    "torch.optim.",
)
"""Where a target may lie, and be defined. A config from a stranger can't name anything else (nor what in turn makes what a
config describes)."""

_own: list[str] = []
"""The user's packages. Of the process and not of a config, so that only who starts the process can add one."""


def trust(packages: Sequence[str]) -> None:
    """From here on configs may name what is defined in these packages or modules.

    Raises:
        InputError: no name of a package.
    """
    for package in packages:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", package):
            raise InputError(
                f"--trust: expected the name of a package or module, as in --trust mine, came {package!r}"
            )
        if package not in _own:
            _own.append(package)


def own() -> tuple[str, ...]:
    """The packages that this process trusts beside ours: what it hands on to the processes that it starts."""
    return tuple(_own)


def only_trusted(value: Any, path: str = "") -> None:
    """Look at the names of all targets of a config, before anything is imported for one of them.

    Raises:
        InputError: a target that lies where nothing is trusted.
    """
    if isinstance(value, Mapping):
        if value.get("_target_") is not None:
            _refuse_stranger(path, value["_target_"])
        for key, item in value.items():
            only_trusted(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            only_trusted(item, f"{path}[{index}]")


def _trusted() -> tuple[str, ...]:
    return (*TRUSTED, *(f"{package}." for package in own()))


def _refuse_stranger(path: str, target: Any) -> None:
    if not isinstance(target, str) or not target.startswith(_trusted()):
        raise InputError(
            f"{path}._target_: expected an object under {', '.join(_trusted())}, came {target!r}; "
            "name your own package with --trust PACKAGE"
        )


def locate(path: str, target: Any) -> Callable[..., Any]:
    """The object a `_target_` names.

    Raises:
        InputError: it is not there, not trusted, or can't be called.
    """
    _refuse_stranger(path, target)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{path}._target_: {target!r} can't be imported ({error}); check its spelling"
        ) from None
    if not callable(found):
        raise InputError(f"{path}._target_: expected a class or function, came {target!r}")
    defined = f"{getattr(found, '__module__', '')}."
    if not defined.startswith(_trusted()):
        raise InputError(
            f"{path}._target_: expected something defined under {module}, came {target!r} of {defined[:-1]}"
        )
    return typing.cast(Callable[..., Any], found)
