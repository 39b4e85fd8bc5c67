"""Hydra's and OmegaConf's errors in one line a user can act on: which key, what came, what to do."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advarch.cli.main import choices
from advarch.errors import InputError
from advarch.runs.binding import nearest
from advarch.runs.config import data_root


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """One line for an exception that Hydra, OmegaConf or our own checks raised.

    Args:
        error: the exception.
        arguments: what the user typed.
    """
    for link in _chain(error):
        if isinstance(link, InputError):
            return str(link)
        if isinstance(link, MissingConfigException):
            return _missing_choice(link, arguments)
        if isinstance(link, OverrideParseException):
            return f"{link.override}: expected key=value in Hydra's grammar, came {link.override!r}; quote values with special characters"
    if gone := re.match(r"Error resolving interpolation '\$\{scale\}_\$\{(\w+)\}'", str(error).strip()):
        return f"{gone[1]}: missing; choose one of the group, advarch --help lists them"
    text = _first_line(error)
    if several := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        name, values = several.groups()
        return f"{name}: expected one value, came {values}; advarch -m runs each of them, {name}=[{values}] is a list"
    if isinstance(error, ConfigCompositionException):
        return _composition(error, arguments)
    key = getattr(error, "full_key", None)
    if text.startswith("Config group override must be"):
        typed = next((a for a in arguments if re.fullmatch(r"[\w/@]+=(null|[-\d.]+)", a)), "a group")
        return f"{typed.partition('=')[0]}: expected a choice of the group, came {typed!r}; advarch --help lists them"
    return f"{key}: {text}" if key and key not in text else text


def _missing_choice(error: MissingConfigException, arguments: Sequence[str]) -> str:
    wanted = str(error.missing_cfg_file)
    if wanted.startswith("sweep/"):
        return missing_sweep(wanted.removeprefix("sweep/"), _sweeps(arguments))
    group, _, choice = wanted.rpartition("/")
    if not error.options:
        return f"{group or wanted}: expected a known choice, came {choice!r}; advarch --help lists all"
    options = [option for option in error.options if not option.startswith("_") and option != "none"]
    return f"{group}: unknown choice {choice!r}; {nearest(choice, options)}"


def missing_sweep(wanted: str, known: Sequence[str]) -> str:
    """What there is in place of a sweep that is not: the same word in other folders, else what is most like it.

    Args:
        wanted: what was typed.
        known: every sweep, with its folder.
    """
    folder = wanted.rpartition("/")[0]
    beside = [name for name in known if folder and name.startswith(f"{folder}/")]
    alike = [name for name in known if name.rpartition("/")[2] == wanted]
    if alike:
        hint = f"did you mean {' or '.join(map(repr, alike))}?"
    elif beside:
        hint = f"{nearest(wanted, beside)} there are {', '.join(beside)}"
    else:
        hint = nearest(wanted, known)
    return f"sweep: unknown choice {wanted!r}; {hint}"


def _sweeps(arguments: Sequence[str]) -> list[str]:
    """Every sweep, those in the folders that --config-dir names too."""
    from advarch.cli.compose import normalise

    searched = re.findall(r"hydra\.searchpath=\['file://(.+?)'\]", "\n".join(normalise(arguments)))
    folders = [data_root("sweeps"), *(Path(folder) / "sweep" for folder in searched)]
    return sorted({name for folder in folders for name in choices(folder)} - {"none"})


def _composition(error: Exception, arguments: Sequence[str]) -> str:
    text = " ".join(str(error).split())
    match = re.search(r"Could not (?:override|delete|append to config|append)\W+'?([\w.@/+~-]+)", text)
    if match is None:
        return _first_line(error)
    key = match[1].strip("'.").lstrip("+~")
    typed = next((a for a in arguments if a.lstrip("+~").startswith(f"{key}=")), key)
    causes = [" ".join(str(link).split()) for link in _chain(error)[1:]]
    if any("not in struct" in cause for cause in causes) or "No match" in text or "struct" in text:
        return f"{key}: unknown key, came {typed!r}; {nearest_key(key, arguments)}"
    detail = next((cause for cause in causes if cause), text)
    return f"{key}: can't take {typed!r} ({re.sub(r' full_key.*', '', detail)})"


def nearest_key(key: str, arguments: Sequence[str]) -> str:
    """The valid key most like this one: among its siblings where the parent exists, else among all."""
    from advarch.cli.compose import chosen, hydra_configs, normalise

    # Which keys there are depends on the choices typed beside the bad one.
    beside = tuple(a for a in normalise(arguments) if re.fullmatch(r"[\w/@]+=[\w/]+", a))
    with hydra_configs():
        try:
            config = chosen(beside)
        except EXPLAINED:
            config = chosen(())
    parent, _, last = key.rpartition(".")
    node: Any = OmegaConf.select(config, parent) if parent else config
    if isinstance(node, DictConfig):
        siblings = [
            str(name) for name in node if not str(name).startswith("_") and name not in ("hydra", "choices")
        ]
        if siblings:
            return nearest(last, siblings)
    return nearest(key, _all_keys(config))


def _all_keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in map(str, config):
        if name == "hydra" or name.startswith("_"):
            continue
        keys.append(f"{prefix}{name}")
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            keys += _all_keys(node, f"{prefix}{name}.")
    return keys


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[0]) if lines else type(error).__name__


EXPLAINED = (HydraException, OmegaConfBaseException)
"""What `explain` knows; anything else is a defect and keeps its traceback."""
