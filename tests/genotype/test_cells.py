"""Genotypes: what a cell may be, JSON and text codes there and back, density by hand."""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advarch.errors import InputError
from advarch.genotype import robnet_code, stored
from advarch.genotype.cell import Cell, Edge, Genotype, check_places
from advarch.genotype.measures import (
    convolutions,
    density,
    direct_convolution_share,
    direct_edge_share,
    mean_density,
)
from advarch.genotype.operations import OPERATIONS
from advarch.genotype.published import PUBLISHED, published, resolve

SEP, SKIP = "sep_conv_3x3", "skip_connect"
LARGE = "11 11 | 11 11 11 | 01 11 01 10 | 11 01 01 01 11"


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    count = draw(st.integers(1, 5))
    names = st.sampled_from([name for name in OPERATIONS if name != "none"])
    nodes = [
        tuple(draw(st.lists(st.builds(Edge, names, st.integers(0, number - 1)), min_size=1, max_size=4)))
        for number in range(2, 2 + count)
    ]
    return Cell(tuple(nodes), tuple(draw(st.permutations(range(2, 2 + count)))))


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    layout = draw(st.sampled_from(["shared", "normal_reduce", "each"]))
    count = {"shared": 1, "normal_reduce": 2}.get(layout, draw(st.integers(1, 4)))
    return Genotype("g", layout, tuple(draw(cells()) for _ in range(count)), draw(st.text(max_size=5)))


@given(genotypes())
@settings(max_examples=100, deadline=None)
def test_json_comes_back(genotype: Genotype) -> None:
    text = stored.dumps(genotype)
    assert stored.from_plain(json.loads(text)) == genotype
    assert json.loads(text) == json.loads(json.dumps(stored.to_plain(genotype)))


@given(genotypes(), st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_in_which_edges_are_written_counts_for_nothing(genotype: Genotype, random) -> None:
    plain = json.loads(stored.dumps(genotype))
    for cell in plain["cells"]:
        for edges in cell["nodes"]:
            random.shuffle(edges)
    again = stored.from_plain(plain)
    assert again == genotype and again.digest == genotype.digest


def test_the_digest_is_of_the_cells_alone() -> None:
    one = published("darts_v2")
    assert Genotype("other", one.layout, one.cells, "elsewhere").digest == one.digest
    assert len({published(name).digest for name in PUBLISHED}) == len(PUBLISHED)
    backwards = Cell(one.cells[0].nodes, one.cells[0].concat[::-1])
    assert Genotype("g", "normal_reduce", (backwards, one.cells[1])).digest != one.digest


TWO = ((Edge(SEP, 0), Edge(SKIP, 1)), (Edge(SEP, 2),))


@pytest.mark.parametrize(
    ("nodes", "concat", "said"),
    [
        ((), (), "concat: expected at least one node to make the output of, came none"),
        (((Edge("conv", 0),),), (2,), "node 2: unknown operation 'conv'; expected one of: sep_conv_3x3"),
        (((Edge(SEP, 2),),), (2,), "node 2: expected edges from nodes before it, came one from node 2; a node may read 0 to 1"),
        (((Edge(SEP, 0),), (Edge(SEP, 5),)), (2, 3), "node 3: expected edges from nodes before it, came one from node 5"),
        (((Edge(SEP, -1),),), (2,), "node 2: expected edges from 0 to 1, came one from -1"),
        (((),), (2,), "node 2: expected at least one input, came none; give it an operation"),
        (((Edge("none", 0),),), (2,), "node 2: expected at least one input, came none"),
        (TWO, (2, 3, 4), "concat: expected nodes from 2 to 3, came 4, which is missing"),
        (TWO, (1, 3), "concat: expected nodes from 2 to 3, came 1"),
        (TWO, (3, 3), "concat: expected each node once, came [3, 3]"),
        (TWO, (2,), "node 3: expected a later node or concat to read it, came neither"),
    ],
)  # fmt: skip
def test_a_cell_that_can_t_be_is_explained(nodes, concat, said: str) -> None:
    with pytest.raises(InputError) as raised:
        Cell(nodes, concat)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "genotype: expected schema 1, came 2"),
        ({"schema": None}, "expected schema 1, came None"),
        ({"colour": 1}, "genotype: unknown key 'colour'"),
        ({"cells": None}, "cells: expected a list, came None"),
        ({"cells": [3]}, "cell 0: expected a mapping with nodes and concat, came 3"),
        ({"cells": [{"nodes": []}]}, "cell 0: missing key 'concat'"),
        ({"cells": [{"nodes": 1, "concat": []}]}, "cell 0: nodes: expected a list of edges for each node, came 1"),
        ({"cells": [{"nodes": [[["skip_connect"]]], "concat": [2]}]}, "cell 0: expected edges [operation, source], came ['skip_connect']"),
        ({"cells": [{"nodes": [[["skip_connect", 0.5]]], "concat": [2]}]}, "cell 0: node 2: expected edges from 0 to 1, came one from 0.5"),
        ({"cells": [{"nodes": [[["skip_connect", True]]], "concat": [2]}]}, "cell 0: node 2: expected edges from 0 to 1, came one from True"),
        ({"cells": [{"nodes": [[["skip_connect", 0]]], "concat": ["2"]}]}, "cell 0: concat: expected a list of node numbers"),
        ({"cells": []}, "cells: expected 2 for layout normal_reduce, came 0"),
        ({"layout": "one"}, "layout: expected one of: shared, normal_reduce, each, came 'one'"),
        ({"layout": 1}, "layout: expected text, came 1"),
        ({"name": "a/b"}, "name: expected letters, digits"),
        ({"name": "x\n"}, "name: expected letters, digits"),
    ],
)  # fmt: skip
def test_json_that_can_t_be_is_explained(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    plain = json.loads(stored.dumps(published("darts_v1"))) | change
    with pytest.raises(InputError) as raised:
        stored.from_plain(plain)
    assert said in str(raised.value)
    (tmp_path / "bad.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "bad.json"))):
        resolve(str(tmp_path / "bad.json"))


def test_files_that_hold_no_json_are_named(tmp_path: Path) -> None:
    for content, said in (
        (b"{", "expected JSON, came text"),
        (b"\xff\xfe", "bytes that are no text"),
        (b"[]", "expected a mapping"),
    ):
        (tmp_path / "g.json").write_bytes(content)
        with pytest.raises(InputError, match=said):
            resolve(str(tmp_path / "g.json"))
    with pytest.raises(InputError, match="No such file"):
        resolve(str(tmp_path / "none.json"))
    for name in ("no\nname", "darts_v3"):
        with pytest.raises(InputError, match="genotype: unknown name"):
            resolve(name)


def test_a_genotype_has_a_cell_for_every_place() -> None:
    free, darts = published("robnet_free"), published("darts_v2")
    assert [free.cell(i, reduction=i in (6, 13)) for i in range(20)] == list(free.cells)
    assert (
        darts.cell(3, reduction=False) == darts.cells[0] and darts.cell(3, reduction=True) == darts.cells[1]
    )
    assert published("robnet_large").cell(6, reduction=True) == published("robnet_large").cells[0]
    check_places(free, 20)
    check_places(darts, 11)
    with pytest.raises(InputError, match="expected 20, for robnet_free has a cell for each place, came 19"):
        check_places(free, 19)


def test_robnet_s_entries_come_by_target_then_source() -> None:
    assert robnet_code.PAIRS == (
        (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4), (0, 5), (1, 5), (2, 5), (3, 5), (4, 5),
    )  # fmt: skip
    cell = robnet_code.decode_cell("0110" + "110001" + "00000010" + "0000000001")
    assert cell.nodes == (
        (Edge(SEP, 0), Edge(SKIP, 1)),
        (Edge(SEP, 0), Edge(SKIP, 0), Edge(SEP, 2)),
        (Edge(SKIP, 3),),
        (Edge(SEP, 4),),
    )


codes = st.lists(st.text("01", min_size=28, max_size=28), min_size=1, max_size=3)


@given(codes)
@settings(max_examples=200, deadline=None)
def test_text_codes_come_back_and_a_node_without_input_is_refused(rows: list[str]) -> None:
    groups = [(row[:4], row[4:10], row[10:18], row[18:]) for row in rows]
    if all("1" in group for row in groups for group in row):
        genotype = robnet_code.decode("\n".join(rows), "g")
        assert robnet_code.encode(genotype).translate({32: "", ord("|"): ""}) == "\n".join(rows) + "\n"
        assert robnet_code.decode(robnet_code.encode(genotype), "g") == genotype
        assert [density(cell) for cell in genotype.cells] == [Fraction(row.count("1"), 28) for row in rows]
        assert [convolutions(cell) for cell in genotype.cells] == [row[1::2].count("1") for row in rows]
    else:
        with pytest.raises(InputError, match="expected at least one input, came none"):
            robnet_code.decode("\n".join(rows), "g")


def test_codes_are_read_as_python_lists_too() -> None:
    words = LARGE.replace("|", "").split()
    assert robnet_code.decode(str(words), "robnet_large").cells == published("robnet_large").cells
    assert resolve(LARGE).cells == published("robnet_large").cells
    assert robnet_code.encode(published("robnet_large")) == LARGE + "\n"
    assert robnet_code.decode(str([words, words]), "two").layout == "each"


@pytest.mark.parametrize("spec", ["11-1x", " 1o 11", "[11, 2]"])
def test_a_wrong_code_is_no_unknown_name(spec: str) -> None:
    with pytest.raises(InputError, match="code: expected bits"):
        resolve(spec)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected bits, blanks and bars, came ''"),
        ("1121" * 7, "expected bits, blanks and bars, came '2'"),
        ("11 11 | 11", "expected 14 entries of two bits for each cell, came 6 bits"),
    ],
)
def test_a_code_that_can_t_be_is_explained(text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        robnet_code.decode(text, "g")
    assert said in str(raised.value)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if not name.startswith("robnet")])
def test_cells_outside_robnet_s_space_have_no_code(name: str) -> None:
    genotype = published(name)
    said = (
        "a shared cell"
        if genotype.layout == "normal_reduce"
        else "at most one each of skip_connect and sep_conv_3x3"
    )
    with pytest.raises(InputError, match=f"code: expected {said}"):
        robnet_code.encode(genotype)
    with pytest.raises(InputError, match="code: expected"):
        robnet_code.encode_cell(genotype.cells[-1])


# Convolutions, identities and density of RobNet-free's cells, in the order of its cells.
FREE = [
    (10, 10),
    (6, 7),
    (8, 8),
    (6, 8),
    (7, 8),
    (10, 10),
    (7, 11),
    (12, 9),
    (11, 9),
    (10, 10),
    (6, 7),
    (9, 10),
    (7, 9),
]
FREE += [(12, 8), (9, 10), (10, 8), (8, 13), (9, 8), (11, 12), (10, 6)]


def test_densities_of_robnets() -> None:
    free = published("robnet_free")
    assert [(convolutions(c), len(c.edges) - convolutions(c)) for c in free.cells] == FREE
    assert [density(c) for c in free.cells] == [Fraction(sum(pair), 28) for pair in FREE]
    assert mean_density(free) == pytest.approx(359 / 560)
    large, full = published("robnet_large").cells[0], published("robnet_full").cells[0]
    assert (density(large), direct_edge_share(large)) == (Fraction(22, 28), Fraction(3, 4))
    assert direct_convolution_share(large) == Fraction(3, 13)
    assert density(full) == direct_edge_share(full) == 1 and direct_convolution_share(full) == Fraction(4, 14)


def test_density_counts_what_the_space_allows_on_an_edge_and_shares_of_nothing_are_nothing() -> None:
    darts = published("darts_v2")
    assert [density(cell, candidates=1) for cell in darts.cells] == [Fraction(8, 14)] * 2
    assert density(Cell(((Edge(SEP, 0), Edge("none", 1)),), (2,)), candidates=1) == Fraction(1, 2)
    pools = darts.cells[1]
    assert convolutions(pools) == 0 == direct_edge_share(pools) == direct_convolution_share(pools)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_have_two_inputs_a_node_but_robnet_s_and_a_source(name: str) -> None:
    genotype = published(name)
    assert re.search(r"et al\. 20\d\d", genotype.source) and genotype.name == name
    if not name.startswith("robnet"):
        assert {len(edges) for cell in genotype.cells for edges in cell.nodes} == {2}
