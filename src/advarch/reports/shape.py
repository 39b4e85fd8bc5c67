"""What the report of a sweep shows: the `sweep` part of its YAML, checked and frozen."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from advarch.errors import InputError

KINDS = ("points", "lines", "bars", "grid", "histogram", "surfaces", "separation", "cells")

PANELS = ("", "rows", "columns")

_FOLDER = re.compile(r"(?!\.)[^/\\\x00-\x1f]+")


@dataclass(frozen=True)
class FigureShape:
    """Column `y` of `checkpoint` against `x`. Empty labels are taken from the columns.

    kind: `points`, one per row, against the column x; `lines`, one per value of the label `line`, against the label x, or, where
        x is a key that a grid of attacks varies (`eps`, `steps`), against the values of y's columns;
        `bars`, one per row and column of `y` (several: "clean, pgd20"); `grid`, a heat map over the label x, a list of two or three
        numbers, that `x_label` names: "Stage 1, Stage 2, Stage 3".
    line: a label of the rows; empty draws one line.
    table: draws columns `x` and `y` of a table that each run holds, in place of one number a row: `search` (its epochs), `candidates`,
        or `analysis.<measure>`; several columns are separated by commas, factors of x by `*` ("epoch * sweep.replays"). As `points`,
        `lines` and `bars` (the mean at each x), or as `histogram` of y; `surfaces`, heights y over the two columns of x, one per row;
        `separation`, what robust candidates share.
    panels: with a table, a panel for each of the `rows`, or of the `columns`; empty draws all in one.
    only: labels of the rows that are drawn, separated by commas; empty draws all.

    The kind `cells` draws the cells of every network and needs no columns.
    """

    kind: str = "points"
    line: str = ""
    x: str = "parameters"
    y: str = "pgd20"
    checkpoint: str = "best"
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    table: str = ""
    panels: str = ""
    only: str = ""

    def shows(self, label: str) -> bool:
        """Whether the row of that label is drawn."""
        return not self.only or label in words(self.only)


@dataclass(frozen=True)
class Shape:
    """A sweep's words, the config keys that label a row, the columns, the checkpoints, and the figures that it has."""

    name: str
    title: str
    question: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    checkpoints: tuple[str, ...]
    figures: tuple[FigureShape, ...]


def read_shape(sweep: Mapping[str, Any]) -> Shape:
    """The shape of a sweep from its resolved mapping.

    Raises:
        InputError: a key is missing, of the wrong type or not known.
    """
    name = _name(sweep)
    checkpoints = _words(sweep.get("checkpoints", ("best", "last")), "checkpoints")
    return Shape(
        name=name,
        title=_text(sweep, "title") or name,
        question=_text(sweep, "question"),
        rows=_words(sweep.get("rows"), "rows"),
        columns=_words(sweep.get("columns"), "columns"),
        checkpoints=checkpoints,
        figures=_figures(sweep.get("figure"), checkpoints),
    )


def words(text: str) -> list[str]:
    """The words of a text that commas separate."""
    return [word.strip() for word in text.split(",") if word.strip()]


def nearest(word: str, words: Iterable[str]) -> str:
    """The end of an error message: the closest valid word, or all of them when none is close."""
    words = sorted(set(words))
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean '{close[0]}'?" if close else f"use one of: {', '.join(words)}"


def _text(sweep: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = sweep.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not value.strip():
        came = "nothing" if value is None else repr(value)
        raise InputError(f"expected sweep.{key} to be a text, came {came}; write it in the sweep's YAML")
    return " ".join(value.split())


def _name(sweep: Mapping[str, Any]) -> str:
    """The sweep's name, which is that of its folder in `outputs` too."""
    name = _text(sweep, "name", required=True)
    if not _FOLDER.fullmatch(sweep["name"]):
        raise InputError(
            f"expected sweep.name to be the name of one folder, came {sweep['name']!r}; "
            "leave out slashes and a dot at the beginning"
        )
    return name


def _words(value: Any, key: str) -> tuple[str, ...]:
    whole = (
        isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(item, str) for item in value)
    )
    if not whole:
        came = "nothing" if value is None else repr(value)
        raise InputError(
            f"expected sweep.{key} to be a list of words, came {came}; write it in the sweep's YAML"
        )
    twice = next((item for item in value if value.count(item) > 1), None)
    if twice is not None:
        raise InputError(f"expected each of sweep.{key} once, came '{twice}' twice; remove one")
    return tuple(value)


def _figures(value: Any, checkpoints: tuple[str, ...]) -> tuple[FigureShape, ...]:
    """None, one, or a list of them."""
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return tuple(_figure(item, checkpoints) for item in values)


def _figure(value: Any, checkpoints: tuple[str, ...]) -> FigureShape:
    known = [field.name for field in fields(FigureShape)]
    if not isinstance(value, Mapping):
        raise InputError(
            f"expected sweep.figure to be a mapping with {', '.join(known)}, a list of such or null, came {value!r}"
        )
    for key, item in value.items():
        if key not in known:
            raise InputError(f"expected a key of sweep.figure, came '{key}'; {nearest(str(key), known)}")
        if item is not None and not isinstance(item, str):
            raise InputError(f"expected sweep.figure.{key} to be a text, came {item!r}; put it in quotes")
    figure = FigureShape(**{key: item for key, item in value.items() if item is not None})
    if figure.kind not in KINDS:
        raise InputError(
            f"expected sweep.figure.kind to be one of {', '.join(KINDS)}, came '{figure.kind}'; {nearest(figure.kind, KINDS)}"
        )
    if figure.panels not in PANELS:
        raise InputError(
            f"expected sweep.figure.panels to be rows, columns or nothing, came '{figure.panels}'; {nearest(figure.panels, PANELS)}"
        )
    if figure.kind in ("histogram", "surfaces", "separation") and not figure.table:
        raise InputError(f"expected sweep.figure.table with {figure.kind}, came nothing; name a run's table")
    if figure.checkpoint not in checkpoints:
        came = figure.checkpoint
        raise InputError(
            f"expected sweep.figure.checkpoint to be one of sweep.checkpoints, came '{came}'; {nearest(came, checkpoints)}"
        )
    return figure
