"""Every row of tests/papers/sizes.csv counted anew and compared with what the papers print; docs/networks.md says the same."""

import pytest

from advarch.cli.compose import compose, hydra_configs, planned
from advarch.metrics.cost import size
from advarch.runs.build import make
from advarch.runs.papers import Published, node, rows_of, table
from tests.networks.page import PAGE, count, page

ROWS = table()
every_row = pytest.mark.parametrize(
    "row", ROWS, ids=[f"{row.network} {row.overrides} {row.classes} {row.printed}" for row in ROWS]
)
UNITS = {"M": 1e6, "G": 1e9}


def agrees(counted: int, printed: str) -> bool:
    """Whether the count rounds to the printed number, or lies on the printed side of it."""
    unit = UNITS[printed[-1]]
    digits = printed[:-1]
    if digits[0] in "<>":
        bound = float(digits[1:]) * unit
        return counted > bound if digits[0] == ">" else counted < bound
    decimals = len(digits.partition(".")[2])
    return f"{counted / unit:.{decimals}f}" == digits


@pytest.mark.parametrize(
    ("counted", "printed", "expected"),
    [
        (46_160_474, "46.16M", True),
        (46_160_474, "46.2M", True),
        (46_160_474, "46.17M", False),
        (46_165_001, "46.17M", True),
        (5_999_686, "6.00M", True),
        (6_658_906_368, "6.7G", True),
        (84_885_594, ">80M", True),
        (79_999_999, ">80M", False),
        (6_956_298, "6.95M", False),
    ],
)
def test_agreement_is_to_the_last_printed_digit(counted: int, printed: str, expected: bool) -> None:
    assert agrees(counted, printed) is expected


def numbers(row: Published, printed: str) -> list[int]:
    """What is counted beside a figure: the whole network; beside "46.2M+4.4M" its base, and what stands beside the base."""
    kind = {"M": "parameters", "G": "macs"}[printed[-1]]
    whole = getattr(row.size, kind)
    if "+" not in printed:
        return [whole]
    base = node(row.network, row.overrides)["base"]
    alone = size(lambda: make("base", base, classes=row.classes, in_channels=row.image[0]), row.image)
    return [getattr(alone, kind), whole - getattr(alone, kind)]


@every_row
def test_a_row_s_numbers_are_those_counted_and_its_printed_figure_agrees_or_says_why(row: Published) -> None:
    counted = count(row.network, row.overrides, row.classes, row.image)
    assert counted == row.size
    assert row.source
    agreed = all(
        agrees(number, figure)
        for printed in row.printed.split()
        for number, figure in zip(numbers(row, printed), printed.split("+"), strict=True)
    )
    # A reason stands exactly where a printed figure can't be matched; without a figure it is a remark.
    assert agreed == (not row.reason) or not row.printed


def test_rows_differ() -> None:
    keys = [(row.network, row.overrides, row.classes, row.image, row.printed) for row in ROWS]
    assert len(set(keys)) == len(keys) >= 90


@pytest.mark.parametrize(
    "row",
    [ROWS[4], *(next(row for row in ROWS if word in row.overrides) for word in ("genotype", "@")), ROWS[-1]],
    ids=lambda row: row.network,
)
def test_a_row_is_found_by_the_config_that_the_command_line_composes(row: Published) -> None:
    with hydra_configs():
        config = planned(compose([f"backbone={row.network}", *row.overrides.split()]), check=False).config
    assert config["backbone"] == node(row.network, row.overrides)
    found = rows_of(config)
    assert row in found
    assert all((other.network, other.overrides) == (row.network, row.overrides) for other in found)


def test_the_page_is_written_from_the_table() -> None:
    assert PAGE.read_text() == page(), "docs/networks.md is out of date: make networks"
