"""Genotypes as JSON, with the version of the form they are written in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.genotype.cell import Cell, Edge, Genotype

SCHEMA = 1

FILE = "genotype.json"
"""What a search leaves in its run folder."""

SEARCHED = "search"
"""The genotype of a network whose cells the run's own search finds."""

_KEYS = {"schema", "name", "layout", "cells", "source"}


def to_plain(genotype: Genotype) -> dict[str, Any]:
    """The genotype as dicts, lists, strings and numbers; `nodes[i]` are the edges [operation, source] of node i + 2."""
    cells = [
        {"nodes": [[list(edge) for edge in edges] for edges in cell.nodes], "concat": list(cell.concat)}
        for cell in genotype.cells
    ]
    return {
        "schema": SCHEMA,
        "name": genotype.name,
        "source": genotype.source,
        "layout": genotype.layout,
        "cells": cells,
    }


def from_plain(value: Any) -> Genotype:
    """The genotype that a plain value describes.

    Raises:
        InputError: another schema version, a key too many or too few, a value of the wrong kind, a cell that can't be.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"genotype: expected a mapping, came {type(value).__name__}")
    if value.get("schema") != SCHEMA:
        raise InputError(
            f"genotype: expected schema {SCHEMA}, came {value.get('schema')!r}; this version reads no other"
        )
    _check_keys("genotype", value, _KEYS, optional={"source"})
    for key in ("name", "layout", "source"):
        if not isinstance(value.get(key, ""), str):
            raise InputError(f"genotype: {key}: expected text, came {value[key]!r}")
    if not isinstance(value["cells"], list):
        raise InputError(f"genotype: cells: expected a list, came {value['cells']!r}")
    cells = tuple(_cell(f"cell {place}", cell) for place, cell in enumerate(value["cells"]))
    return Genotype(value["name"], value["layout"], cells, value.get("source", ""))


def _cell(path: str, value: Any) -> Cell:
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: expected a mapping with nodes and concat, came {value!r}")
    _check_keys(path, value, {"nodes", "concat"})
    nodes, concat = value["nodes"], value["concat"]
    if not isinstance(nodes, list) or not all(isinstance(edges, list) for edges in nodes):
        raise InputError(f"{path}: nodes: expected a list of edges for each node, came {nodes!r}")
    for edge in (edge for edges in nodes for edge in edges):
        if not isinstance(edge, list) or len(edge) != 2 or not isinstance(edge[0], str):
            raise InputError(f"{path}: expected edges [operation, source], came {edge!r}")
    if not isinstance(concat, list) or not all(type(number) is int for number in concat):
        raise InputError(f"{path}: concat: expected a list of node numbers, came {concat!r}")
    try:
        return Cell(tuple(tuple(Edge(*edge) for edge in edges) for edges in nodes), tuple(concat))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_keys(
    path: str, value: Mapping[str, Any], known: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> None:
    for key in value:
        if key not in known:
            raise InputError(f"{path}: unknown key {key!r}; expected {', '.join(sorted(known))}")
    for key in sorted(known - optional - set(value)):
        raise InputError(f"{path}: missing key {key!r}")


def dumps(genotype: Genotype) -> str:
    """JSON text, a line for each node."""
    plain = to_plain(genotype)
    cells = []
    for cell in plain.pop("cells"):
        nodes = ",\n    ".join(json.dumps(edges) for edges in cell["nodes"])
        cells.append(f'  {{"nodes": [\n    {nodes}],\n   "concat": {json.dumps(cell["concat"])}}}')
    head = "".join(f' "{key}": {json.dumps(item, ensure_ascii=False)},\n' for key, item in plain.items())
    return "{\n" + head + ' "cells": [\n' + ",\n".join(cells) + "]\n}\n"


def write(genotype: Genotype, path: Path) -> Path:
    """Write the JSON whole or not at all."""
    return write_atomic(path, dumps(genotype))


def read(path: Path) -> Genotype:
    """The genotype in a file. Raises InputError, which names the file."""
    try:
        return from_plain(json.loads(path.read_text()))
    except OSError as error:
        raise InputError(
            f"genotype: expected a readable file, came {path} ({error.strerror or error})"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected JSON, came bytes that are no text") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: expected JSON, came text that isn't ({error})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
