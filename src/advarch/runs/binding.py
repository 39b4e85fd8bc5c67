"""Bind every config node with a `_target_` to its target's signature, before anything starts.

`_partial_: true` would hide a misspelt key until the first call, hours later. So each key is looked up in the signature and
each value checked against its annotation (by pydantic, strictly), and the config that comes back holds the values in one
form: 8/255, "8/255" and ${px:8} are one number, so one digest.
"""

import copy
import difflib
import importlib
import inspect
import json
import math
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import pydantic
import pydantic_core
from annotated_types import Ge, Gt, MinLen
from pydantic_core import PydanticUndefined

from advarch.errors import InputError
from advarch.runs.units import fraction

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
config describes); a user's own packages are added by `trust`."""

GIVEN_AT_CALL = frozenset(
    [
        "model",
        "x",
        "y",
        "t",
        "logits",
        "attack",
        "generator",
        "step",
        "teachers",
        "params",
        "attention_params",
        "classes",
        "in_channels",
        "folder",
        "total",
        "initial",
        "record",
    ]
    + ["root", "image_size"]
    + ["supernet", "space", "defense"]
)
"""Parameters that code hands over when it calls a partial, so that a config need not hold them."""

PLAIN: dict[str, Any] = {
    "seed": int,
    "stages": Annotated[list[Literal["train", "evaluate", "analyse"]], MinLen(1)],
    "outputs": Annotated[str, MinLen(1)],
    "in_process": bool,
    "validation": {"every": Annotated[int, Ge(1)], "batch_size": Annotated[int, Ge(1)], "attack": Any},
    "logger": {"kind": Literal["csv", "wandb"], "project": str, "entity": str | None},
    "search": {
        "name": Annotated[str, MinLen(1)],
        "method": Any,
        "supernet": Any,
        "optimizer": Any,
        "arch_optimizer": Any,
        "min_lr": Annotated[float, Ge(0)],
        "grad_clip": Annotated[float, Gt(0)] | None,
        "epochs": Annotated[int, Ge(1)],
        "batch_size": Annotated[int, Ge(1)],
    },
}
"""Keys that no target's signature describes."""

_CONTROL = {"_target_", "_partial_"}


def bind(config: Mapping[str, Any], trust: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same config with every value checked and in canonical form.

    Args:
        config: a resolved config as plain dicts and lists.
        trust: further package prefixes whose objects a config may name.

    Raises:
        InputError: an unknown or missing key, a value of the wrong kind, a target that is not there or not trusted.
    """
    trusted = (*TRUSTED, *trust)
    bound: dict[str, Any] = dict.fromkeys(config)
    # The threat first: a bad radius is to be named itself, not a step size made from it.
    for key, value in sorted(config.items(), key=lambda item: item[0] != "threat"):
        described = json.dumps([key, value, trusted], default=str)
        if described not in _BOUND:
            _BOUND[described] = _bind_root(key, value, trusted)
        bound[key] = copy.deepcopy(_BOUND[described])
    return bound


_BOUND: dict[str, Any] = {}
"""What was bound before: the jobs of a sweep differ in few nodes."""


def _bind_root(key: str, value: Any, trusted: tuple[str, ...]) -> Any:
    """One of the config's first keys."""
    rule = PLAIN.get(key)
    if not isinstance(rule, dict):
        return _bind_plain(key, value, Any if rule is None else rule, trusted)
    if not isinstance(value, Mapping):
        raise InputError(f"{key}: expected a choice of the group, came {value!r}; advarch --help lists them")
    for name in value:
        if name not in rule:
            raise InputError(f"{key}.{name}: unknown key; {nearest(name, rule)}")
    return {name: _bind_plain(f"{key}.{name}", v, rule[name], trusted) for name, v in value.items()}


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """'; did you mean X?' or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(known)}"


def locate(path: str, target: Any, trusted: tuple[str, ...]) -> Callable[..., Any]:
    """The object a `_target_` names."""
    if not isinstance(target, str) or not target.startswith(trusted):
        raise InputError(
            f"{path}._target_: expected an object under {', '.join(trusted)}, came {target!r}; "
            "name your own package with --trust PACKAGE"
        )
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
    if not defined.startswith(trusted):
        raise InputError(
            f"{path}._target_: expected something defined under {module}, came {target!r} of {defined[:-1]}"
        )
    return typing.cast(Callable[..., Any], found)


def _bind_plain(path: str, value: Any, annotation: Any, trusted: tuple[str, ...]) -> Any:
    return _bind_value(path, value, trusted) if annotation is Any else _check(path, value, annotation)


def _bind_value(path: str, value: Any, trusted: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        if value.get("_target_") is not None:
            return _bind_node(path, value, trusted)
        return {key: _bind_value(f"{path}.{key}", item, trusted) for key, item in value.items()}
    if isinstance(value, list):
        return [_bind_value(f"{path}[{index}]", item, trusted) for index, item in enumerate(value)]
    return value


def _bind_node(path: str, node: Mapping[str, Any], trusted: tuple[str, ...]) -> dict[str, Any]:
    target = locate(path, node["_target_"], trusted)
    signature = inspect.signature(target)
    annotations = _annotations(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    bound: dict[str, Any] = {}
    for key, value in node.items():
        if key in _CONTROL:
            bound[key] = value
            continue
        where = f"{path}.{key}"
        if key not in signature.parameters and not open_ended:
            raise InputError(
                f"{where}: unknown key; {nearest(key, set(signature.parameters) - GIVEN_AT_CALL)}"
            )
        value = _bind_value(where, value, trusted)
        bound[key] = value if _has_target(value) else _check(where, value, annotations.get(key, Any))
    for name, parameter in signature.parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and name not in node and name not in GIVEN_AT_CALL and name != "threat":
            raise InputError(f"{path}.{name}: missing; {node['_target_']} needs it")
    return bound


def _has_target(value: Any) -> bool:
    """Whether an object will stand where the config describes it: its class was checked already."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(_has_target(item) for item in value.values())
    return isinstance(value, list) and any(_has_target(item) for item in value)


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        # Some annotations of libraries can't be evaluated; ours must be, or nothing would be checked.
        if target.__module__.startswith("advarch."):
            raise
        return {}


def _check(path: str, value: Any, annotation: Any) -> Any:
    """The value in the form its annotation asks for."""
    for number in value if isinstance(value, list) else [value]:
        # Infinity means something as a norm only.
        if isinstance(number, float) and not math.isfinite(number) and not path.endswith(".norm"):
            raise InputError(f"{path}: expected finite numbers, came {value!r}")
    try:
        adapter = pydantic.TypeAdapter(annotation, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    except (pydantic.errors.PydanticUserError, pydantic_core.SchemaError, TypeError):
        return value
    if isinstance(value, list):
        value = [fraction(item) for item in value]
        # YAML has one kind of sequence only.
        if typing.get_origin(annotation) is tuple:
            value = tuple(value)
    try:
        checked = adapter.validate_python(fraction(value), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = path + "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
        came = first["input"] if first.get("input", PydanticUndefined) is not PydanticUndefined else value
        raise InputError(f"{where}: {_expectation(error)}, came {came!r}") from None
    if isinstance(checked, (bool, int, float, str)) or checked is None:
        return checked
    return list(checked) if isinstance(checked, (list, tuple)) else value


def _expectation(error: pydantic.ValidationError) -> str:
    """What pydantic asked for, in our words; alternatives of a union joined."""
    said = []
    for item in error.errors():
        context = item.get("ctx", {})
        if item["type"] in ("too_short", "too_long"):
            count = context.get("min_length", context.get("max_length"))
            text = f"at {'least' if item['type'] == 'too_short' else 'most'} {count} values"
        elif item["type"] in ("is_instance_of", "sequence_str", "list_type", "tuple_type"):
            text = "a list"
        else:
            text = item["msg"].removeprefix("Input should be ").removeprefix("a valid ")
        if text not in said:
            said.append(text)
    return "expected " + " or ".join(said)
