"""A search's cells as text and as a strip, and its curves."""

import math
from random import Random

from advarch.genotype.cell import Cell, Edge, Genotype
from advarch.genotype.published import published
from advarch.genotype.space import Space
from advarch.genotype.stored import to_plain
from advarch.reports import genotype_strip, search_curves
from advarch.reports.genotype_text import text
from advarch.reports.pictures import png_size

SPACE = Space(("skip_connect", "sep_conv_3x3"), nodes=2, layout="shared")


def rows(count: int = 3) -> list[dict]:
    random = Random(0)
    return [
        {"epoch": epoch, "loss": 1.0 / epoch, "genotype": to_plain(SPACE.sample(random))}
        for epoch in range(1, count + 1)
    ]


def test_cells_are_written_side_by_side_with_what_leads_to_each_node() -> None:
    long = Cell(
        ((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (Edge("none", 0), Edge("max_pool_3x3", 2))),
        (2, 3),
    )
    short = Cell(((Edge("dil_conv_5x5", 1),),), (2,))
    assert text(Genotype("a", "normal_reduce", (long, short))).splitlines() == [
        "normal cell                       reduction cell",
        "2 ← sep 3×3(k−2)  +  skip(k−1)    2 ← dil 5×5(k−1)",
        "3 ← none(k−2)  +  max 3×3(2)",
    ]
    assert text(Genotype("a", "shared", (short,))) == "every cell\n2 ← dil 5×5(k−1)"


def test_a_strip_counts_the_edges_that_changed() -> None:
    def cell(op: str) -> dict:
        nodes = ((Edge(op, 0), Edge("skip_connect", 1)), (Edge("skip_connect", 0), Edge(op, 2)))
        return to_plain(Genotype("found", "shared", (Cell(nodes, (2, 3)),)))

    ops = ["skip_connect", "skip_connect", "sep_conv_3x3", "skip_connect"]
    found = [{"epoch": epoch, "genotype": cell(op)} for epoch, op in enumerate(ops, 1)]
    assert genotype_strip.changes(found) == [0, 2, 2]


def test_a_strip_is_as_high_as_its_cells_have_edges_and_the_same_bytes_twice() -> None:
    made = rows()
    picture = genotype_strip.render(made)
    wide, high = png_size(picture)
    inches = genotype_strip.HEAD + 5 * genotype_strip.LINE + genotype_strip.FOOT
    assert (wide, high) == (round(160 * genotype_strip.WIDTH), int(160 * inches))
    assert picture == genotype_strip.render(made) != genotype_strip.render(rows(2))


def test_curves_have_a_panel_for_what_there_is() -> None:
    made = rows()
    one = png_size(search_curves.render(made))[1]
    more = [row | {"gap": 0.1, "multiplier": float("nan")} for row in made]
    assert png_size(search_curves.render(more))[1] - one == round(160 * search_curves.HEIGHT)


def test_lines_have_names_and_values_and_the_entropy_of_a_uniform_choice_is_one() -> None:
    found = [
        {
            "epoch": e,
            "ce_adv": 2.0 / e,
            "ce_adv_arch": 2.1 / e,
            "entropy": math.log(8) - 0.1 * e,
            "val_clean": 0.25 * e,
        }
        for e in (1, 2)
    ]
    loss, entropy, accuracy = search_curves.drawn(found, operations=8).axes
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in (*loss.lines, *accuracy.lines)}
    assert lines == {
        "weights, adversarial": [[1, 2], [2, 1]],
        "architecture, adversarial": [[1, 2.1], [2, 1.05]],
        "validation, clean": [[1, 25], [2, 50]],
    }
    assert entropy.lines[1].get_ydata().tolist() == [math.log(8)] * 2
    assert {text.get_text() for text in entropy.texts} == {"operations", "ln 8: undecided"}


def test_a_cell_free_network_is_counted_and_has_no_strip() -> None:
    free = published("robnet_free")
    assert text(free).startswith("20 cells, ")
    assert genotype_strip.cells_by_epoch([{"epoch": 1, "genotype": to_plain(free)}]) == []
