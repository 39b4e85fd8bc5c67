"""Sizes by formula against the table of the papers' networks, which is counted, and what the formula is not about."""

import pytest

from advarch.launch.sizes import by_formula
from advarch.runs.papers import Published, node, table

ROWS = [row for row in table() if row.network == "wide_resnet" and "silu" not in row.overrides]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.overrides} {row.classes}" for row in ROWS])
def test_the_formula_gives_what_is_counted(row: Published) -> None:
    assert by_formula(node(row.network, row.overrides), row.classes, row.image) == row.size


def test_it_is_about_plain_networks_only() -> None:
    plain = node("wide_resnet", "")
    for changed in ({"activation": "silu"}, {"dropout": 0.3}, {"drop_path": 0.1}, {"_target_": "other"}):
        assert by_formula({**plain, **changed}, 10, (3, 32, 32)) is None
    assert by_formula(plain, None, (3, 32, 32)) is None and by_formula(plain, 10, None) is None
    assert by_formula(plain, 10, (1, 30, 30)) is None, "a map of odd size is halved up"
