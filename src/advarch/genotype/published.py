"""Cells by name: published ones, and cells of the printed sizes of NADAR's, which never were.

They are written as in `genotype.line`.
"""

import difflib
from functools import cache
from pathlib import Path

from advarch.errors import InputError
from advarch.genotype import robnet_code, stored
from advarch.genotype.cell import Genotype
from advarch.genotype.line import cell_of_line, from_line, is_line

_PAIRS = {
    "darts_v1": (
        "Liu et al. 2019 (DARTS), first order",
        "sep3 1, sep3 0 | skip 0, sep3 1 | skip 0, sep3 1 | sep3 0, skip 2",
        "max3 0, max3 1 | skip 2, max3 0 | max3 0, skip 2 | skip 2, avg3 0",
    ),
    "darts_v2": (
        "Liu et al. 2019 (DARTS), second order",
        "sep3 0, sep3 1 | sep3 0, sep3 1 | sep3 1, skip 0 | skip 0, dil3 2",
        "max3 0, max3 1 | skip 2, max3 1 | max3 0, skip 2 | skip 2, max3 1",
    ),
    "pc_darts": (
        "Xu et al. 2020 (PC-DARTS), searched on CIFAR-10",
        "sep3 1, skip 0 | sep3 0, dil3 1 | sep5 0, sep3 1 | avg3 0, dil3 1",
        "sep5 1, max3 0 | sep5 1, sep5 2 | sep3 0, sep3 3 | sep3 1, sep3 2",
    ),
    "pc_darts_imagenet": (
        "Xu et al. 2020 (PC-DARTS), searched on ImageNet",
        "skip 1, sep3 0 | sep3 0, skip 1 | sep3 1, sep3 3 | sep3 1, dil5 4",
        "sep3 0, skip 1 | dil5 2, max3 1 | sep3 2, sep3 1 | sep5 0, sep3 3",
    ),
    "nasnet_a": (
        "Zoph et al. 2018 (NASNet-A)",
        "sep5 1, sep3 0 | sep5 0, sep3 0 | avg3 1, skip 0 | avg3 0, avg3 0 | sep3 1, skip 1",
        "sep5 1, sep7 0 | max3 1, sep7 0 | avg3 1, sep5 0 | skip 3, avg3 2 | sep3 2, max3 1",
    ),
    "amoebanet_a": (
        "Real et al. 2019 (AmoebaNet-A)",
        "avg3 0, max3 1 | sep3 0, sep5 2 | sep3 0, avg3 3 | sep3 1, skip 1 | skip 0, avg3 1",
        "avg3 0, sep3 1 | max3 0, sep7 2 | sep7 0, avg3 1 | max3 0, max3 1 | conv7 0, sep3 5",
    ),
    "racl_v1": (
        "Dong et al. 2020 (RACL), arXiv version 1; the cell of version 2 was never published",
        "sep3 0, sep3 1 | sep5 0, skip 1 | sep3 0, skip 3 | sep3 3, skip 4",
        "sep3 0, sep5 1 | avg3 0, dil3 1 | sep3 0, sep5 1 | sep3 2, dil3 3",
    ),
    "advrush": (
        "Mok et al. 2021 (AdvRush)",
        "sep3 1, sep3 0 | sep5 0, sep3 1 | sep3 1, sep3 0 | skip 0, sep3 1",
        "sep3 0, sep3 1 | skip 0, dil3 2 | skip 0, avg3 1 | skip 0, skip 2",
    ),
}
"""Name: source, normal cell, reduction cell."""

_SHARED = {
    "nadar_a_like": (
        "a cell of the size of NADAR-A (Li et al. 2021), deep as those are; the authors' own was never published",
        "sep3 0, sep3 1 | sep3 2, dil3 1 | sep3 3, skip 2 | dil3 4, skip 3",
    ),
    "nadar_b_like": (
        "a cell of the size of NADAR-B (Li et al. 2021), deep as those are; the authors' own was never published",
        "sep3 0, sep5 1 | sep5 2, sep3 1 | sep5 3, dil3 2 | sep5 4, skip 3",
    ),
}
"""Name: source, the one cell."""

_CONCAT = {"nasnet_a": ((2, 3, 4, 5, 6), (4, 5, 6)), "amoebanet_a": ((4, 5, 6), (3, 4, 6))}
"""Where the output is not all four nodes."""

_ROBNET = {
    "robnet_large": (
        "Guo et al. 2020 (RobNet-large, and with more channels and cells RobNet-large-v2)",
        "11 11 | 11 11 11 | 01 11 01 10 | 11 01 01 01 11",
    ),
    "robnet_free": (
        "Guo et al. 2020 (RobNet-free)",
        """
        11 10 | 11 11 10 | 11 01 01 10 | 11 11 00 11 01
        11 00 | 01 10 01 | 00 10 10 00 | 01 11 10 11 00
        11 11 | 11 01 01 | 11 01 00 10 | 00 10 10 00 11
        10 11 | 10 01 01 | 10 10 01 10 | 11 00 00 01 10
        11 11 | 01 00 10 | 10 10 01 10 | 01 00 10 01 11
        11 10 | 11 11 11 | 01 10 11 00 | 10 01 11 01 11
        11 11 | 11 10 10 | 01 11 10 01 | 10 10 10 01 10
        01 11 | 11 11 01 | 11 11 11 01 | 11 01 11 10 00
        11 11 | 11 11 11 | 01 01 11 10 | 01 00 10 01 11
        10 11 | 01 00 11 | 11 10 11 01 | 11 11 11 11 00
        11 10 | 11 00 00 | 00 11 00 01 | 10 00 01 10 11
        01 11 | 01 11 11 | 10 10 11 10 | 11 01 11 10 00
        11 11 | 10 10 01 | 00 10 11 11 | 01 10 10 00 01
        01 11 | 11 11 01 | 01 11 01 01 | 11 11 01 10 10
        01 11 | 11 11 11 | 01 00 01 10 | 10 11 10 10 11
        11 11 | 00 11 11 | 01 00 01 10 | 00 11 01 11 11
        11 11 | 01 11 11 | 10 11 10 10 | 10 10 10 11 11
        10 11 | 01 11 11 | 01 11 00 11 | 11 00 10 00 01
        11 10 | 11 11 11 | 11 11 10 11 | 00 11 01 11 11
        11 11 | 01 01 11 | 11 01 00 00 | 10 00 01 01 11
        """,
    ),
    "robnet_full": ("Guo et al. 2020, the supernet's cell: both operations on every edge", "11" * 14),
}

PUBLISHED = tuple(sorted((*_PAIRS, *_SHARED, *_ROBNET)))
"""Every name."""


@cache
def published(name: str) -> Genotype:
    """A published genotype. Raises InputError for a name that is none, with the nearest that is."""
    if name in _PAIRS:
        source, *cells = _PAIRS[name]
        concats = _CONCAT.get(name, ((2, 3, 4, 5), (2, 3, 4, 5)))
        made = tuple(cell_of_line(line, concat) for line, concat in zip(cells, concats, strict=True))
        return Genotype(name, "normal_reduce", made, source)
    if name in _SHARED:
        source, line = _SHARED[name]
        return Genotype(name, "shared", (cell_of_line(line),), source)
    if name in _ROBNET:
        source, code = _ROBNET[name]
        return robnet_code.decode(code, name, source)
    close = difflib.get_close_matches(name, PUBLISHED, n=1, cutoff=0.5)
    hint = (
        f"did you mean {close[0]!r}?" if close else f"expected a .json file or one of: {', '.join(PUBLISHED)}"
    )
    raise InputError(f"genotype: unknown name {name!r}; {hint}")


def is_file(spec: str) -> bool:
    """Whether a genotype is named by a file: JSON, or a text of RobNet's codes."""
    return spec.endswith((".json", ".txt"))


def is_code(spec: str) -> bool:
    """Whether it is one of RobNet's text codes, or was meant as one: names begin with a letter."""
    return not is_file(spec) and not spec.strip()[:1].isalpha()


def resolve(spec: str) -> Genotype:
    """The genotype that a published name, a .json file, a .txt file of RobNet's codes, such a code or a line of text describes.

    Raises:
        InputError: none of these, or what they hold can't be.
    """
    if is_line(spec):
        return from_line(spec, "written")
    if is_code(spec):
        return robnet_code.decode(spec, "robnet_code")
    if not is_file(spec):
        return published(spec)
    path = Path(spec)
    if path.suffix == ".json" or not path.is_file():
        return stored.read(path)
    try:
        return robnet_code.decode(path.read_text(), path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
