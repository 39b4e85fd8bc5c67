"""Cells on one line: what is written is read, and what can't be written is refused."""

import pytest

from advarch.errors import InputError
from advarch.genotype.cell import Cell, Edge, Genotype
from advarch.genotype.line import from_line, to_line
from advarch.genotype.published import PUBLISHED, published, resolve
from advarch.genotype.space import Space

WHOLE = [name for name in PUBLISHED if name not in ("nasnet_a", "amoebanet_a")]


@pytest.mark.parametrize("name", WHOLE)
def test_published_cells_come_back(name: str) -> None:
    genotype = published(name)
    assert resolve(to_line(genotype)).digest == genotype.digest


def test_a_line_says_what_it_says() -> None:
    cell = Cell(((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (Edge("dil_conv_5x5", 2),)), (2, 3))
    assert resolve("skip 1, sep3 0 | dil5 2") == Genotype("written", "shared", (cell,))
    assert from_line("skip 0 / max3 1", "pair").layout == "normal_reduce"
    assert from_line("skip 0 / max3 1 / avg3 0", "row").layout == "each"


def test_a_small_space_has_as_many_lines_as_cells() -> None:
    space = Space(("max_pool_3x3", "skip_connect", "sep_conv_3x3"), nodes=2, inputs=1, layout="shared")
    lines = {to_line(genotype) for genotype in space.enumerate()}
    assert len(lines) == space.size == 54


@pytest.mark.parametrize("text", ["sepp3 0 | skip 1", "skip 0 skip 1", "skip 0, | skip 1", "skip 0 |"])
def test_a_line_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected edges like 'sep3 0'"):
        resolve(text)


def test_a_cell_that_can_not_be_is_refused() -> None:
    with pytest.raises(InputError, match="node 3: expected edges from nodes before it, came one from node 3"):
        resolve("skip 0 | skip 3")


def test_what_has_no_line_is_refused() -> None:
    with pytest.raises(InputError, match="write it as JSON"):
        to_line(published("nasnet_a"))
    with pytest.raises(InputError, match="write it as JSON"):
        to_line(Genotype("one", "each", published("nadar_a_like").cells))
