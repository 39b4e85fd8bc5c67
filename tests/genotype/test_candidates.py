"""The table of candidates: columns by hand, there and back, what doesn't fit explained."""

from pathlib import Path
from random import Random

import pytest

from advarch.errors import InputError
from advarch.genotype import candidates
from advarch.genotype.measures import alpha
from advarch.genotype.published import published
from advarch.genotype.robnet_code import encode_cell
from advarch.genotype.space import DARTS_OPERATIONS, ROBNET_OPERATIONS, Space

ROBNET = Space(ROBNET_OPERATIONS, inputs=None, layout="shared")
FREE = Space(ROBNET_OPERATIONS, inputs=None, layout="each", places=2)
DARTS = Space(DARTS_OPERATIONS)


def test_a_row_by_hand_and_back_from_its_file(tmp_path: Path) -> None:
    large = candidates.candidate(ROBNET, published("robnet_large"), parameters=7, clean=0.75, robust=1 / 3)
    assert (large.density, large.convolutions, large.direct_convolutions) == (pytest.approx(22 / 28), 13, 3)
    rows = [large] + [
        candidates.candidate(space, space.sample(Random(0), "drawn"), parameters=8, clean=0.5, robust=0.25)
        for space in (FREE, DARTS)
    ]
    # A DARTS cell has 8 of 14 edges, one operation each, whatever was drawn.
    assert rows[2].density == pytest.approx(8 / 14)
    assert candidates.read(candidates.write(rows, tmp_path / candidates.FILE)) == rows


def test_alpha_is_robnet_s_code() -> None:
    for cell in published("robnet_free").cells[:3]:
        bits = [int(bit) for bit in encode_cell(cell) if bit in "01"]
        genotype = published("robnet_large")
        made = type(genotype)("one", "shared", (cell,))
        assert list(alpha(made, ("skip_connect", "sep_conv_3x3"))) == bits


def test_another_table_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    with pytest.raises(InputError, match=r"candidates: expected a table, came .*candidates\.csv"):
        candidates.read(file)
    file.write_text("name,genotype\n")
    with pytest.raises(InputError, match="came none of density, convolutions"):
        candidates.read(file)
    row = candidates.candidate(ROBNET, published("robnet_large"), parameters=7, clean=0.75, robust=0.5)
    text = candidates.write([row], file).read_text()
    for before, after in (("0.75", "much"), ('""shared""', '""one""'), (",7,", ",")):
        file.write_text(text.replace(before, after))
        with pytest.raises(
            InputError, match=r"candidates\.csv, row 1: expected a genotype as JSON and numbers"
        ):
            candidates.read(file)
