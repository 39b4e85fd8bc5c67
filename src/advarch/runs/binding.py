"""Bind every config node with a `_target_` to its target's signature, before anything starts.

`_partial_: true` would hide a misspelt key until the first call, hours later. So each key is looked up in the signature and
each value checked against its annotation (by pydantic, strictly), and the config that comes back holds the values in one
form: 8/255, "8/255" and ${px:8} are one number, so one digest.
"""

import copy
import difflib
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
from advarch.runs.trust import locate, only_trusted, own
from advarch.runs.units import fraction

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
    + ["supernet", "space", "defense", "random"]
    + ["batches", "genotypes", "statistics"]
)
"""Parameters that code hands over when it calls a partial, so that a config need not hold them."""

PLAIN: dict[str, Any] = {
    "seed": int,
    "stages": Annotated[list[Literal["search", "train", "evaluate", "analyse"]], MinLen(1)],
    "outputs": Annotated[str, MinLen(1)],
    "in_process": bool,
    "validation": {"every": Annotated[int, Ge(1)], "batch_size": Annotated[int, Ge(1)], "attack": Any},
    "logger": {
        "kind": Literal["csv", "wandb"],
        "project": str,
        "entity": str | None,
        "artifacts": list[Literal["model", "genotype"]],
    },
    "initial_weights": dict[str, str] | None,
    "search": {
        "name": Annotated[str, MinLen(1)],
        "space": Any,
        "candidates": Any,
        "method": Any,
        "supernet": Any,
        "pretrained": str | None,
        "defense": Any,
        "attack": Any,
        "validation_attack": Any,
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


def bind(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with every value checked and in canonical form.

    Args:
        config: a resolved config as plain dicts and lists.

    Raises:
        InputError: an unknown or missing key, a value of the wrong kind, a target that is not there or not trusted.
    """
    only_trusted(config)
    bound: dict[str, Any] = dict.fromkeys(config)
    # The threat first: a bad radius is to be named itself, not a step size made from it.
    for key, value in sorted(config.items(), key=lambda item: item[0] != "threat"):
        described = json.dumps([key, value, own()], default=str)
        if described not in _BOUND:
            _BOUND[described] = _bind_root(key, value)
        bound[key] = copy.deepcopy(_BOUND[described])
    return bound


_BOUND: dict[str, Any] = {}
"""What was bound before: the jobs of a sweep differ in few nodes."""


def _bind_root(key: str, value: Any) -> Any:
    """One of the config's first keys."""
    rule = PLAIN.get(key)
    if not isinstance(rule, dict):
        return _bind_plain(key, value, Any if rule is None else rule)
    if not isinstance(value, Mapping):
        raise InputError(f"{key}: expected a choice of the group, came {value!r}; advarch --help lists them")
    for name in value:
        if name not in rule:
            raise InputError(f"{key}.{name}: unknown key; {nearest(name, rule)}")
    return {name: _bind_plain(f"{key}.{name}", v, rule[name]) for name, v in value.items()}


def bind_fields(path: str, values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Values for a dataclass's fields, each known and checked as a node's are.

    Raises:
        InputError: one is not.
    """
    annotations = typing.get_type_hints(kind, include_extras=True)
    for key in values:
        if key not in annotations:
            raise InputError(f"{path}.{key}: unknown key; {nearest(key, annotations)}")
    return {key: _check(f"{path}.{key}", value, annotations[key]) for key, value in values.items()}


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """'; did you mean X?' or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(known)}"


def _bind_plain(path: str, value: Any, annotation: Any) -> Any:
    return _bind_value(path, value) if annotation is Any else _check(path, value, annotation)


def _bind_value(path: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("_target_") is not None:
            return _bind_node(path, value)
        return {key: _bind_value(f"{path}.{key}", item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bind_value(f"{path}[{index}]", item) for index, item in enumerate(value)]
    return value


def _bind_node(path: str, node: Mapping[str, Any]) -> dict[str, Any]:
    target = locate(path, node["_target_"])
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
        value = _bind_value(where, value)
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
