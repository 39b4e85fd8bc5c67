"""Printed numbers: how they are read, and that they stand beside the right cells."""

from typing import Any

import pytest

from advarch.errors import InputError
from advarch.reports.published import Printed, printed, read_published
from advarch.reports.shape import read_shape
from advarch.reports.table import build
from advarch.reports.text import csv_text, markdown
from tests.reports import made_up_runs as made

LINE = {"row": "1-1-1", "source": "Paper, Table 1", "parameters": "0.05M", "pgd20": "60.00±0.50", "note": "a misprint"}  # fmt: skip


def sweep(*lines: dict[str, Any]) -> dict[str, Any]:
    return {**made.SWEEP, "published": list(lines)}


@pytest.mark.parametrize(
    ("text", "value", "std"),
    [
        (54.76, 54.76, None),
        (0, 0, None),
        ("54.76±0.229", 54.76, 0.229),
        ("17.05M", 17.05e6, None),
        ("46.2M+3.6M", 49.8e6, None),
        ("6.7G+0.6G", 7.3e9, None),
        ("~52", 52, None),
        (">80M", 80e6, None),
    ],
)
def test_a_printed_number_is_read(text: Any, value: float, std: float | None) -> None:
    found = printed(text)
    assert found.value == pytest.approx(value, rel=1e-12) and found.std == std


def test_a_number_is_shown_as_it_is_printed() -> None:
    assert [printed(87.0), printed("46.2M+3.6M")] == [
        Printed("87.00", 87.0),
        Printed("46.2M+3.6M", pytest.approx(49.8e6)),
    ]


@pytest.mark.parametrize("text", ["-", "", "12.3%", "1.2.3", True, None, float("nan")])
def test_what_is_no_number_is_refused(text: Any) -> None:
    with pytest.raises(InputError, match="expected a number as printed"):
        printed(text)


def test_published_ours_and_the_difference_stand_side_by_side() -> None:
    table = build(sweep(LINE), [made.run((1, 1, 1)), made.run((2, 1, 1))])
    ids = [header.id for header in table.headers]
    at = ids.index("pgd20_published")
    assert ids[at : at + 3] == ["pgd20_published", "pgd20", "pgd20_difference"]
    assert "parameters_difference" not in ids and "fgsm_published" not in ids
    best, last = table.rows[0].cells[at : at + 3], table.rows[1].cells[at : at + 3]
    assert [cell.text for cell in best] == ["60.00±0.50", "63.33", "+3.33"]
    assert best[0].marks == "¹" and best[2].value == pytest.approx(100 * 228 / 360 - 60)
    assert [cell.text for cell in last] == ["–", "60.83", "–"], "printed for the best checkpoint alone"
    text = markdown(table)
    assert "¹ a misprint" in text and "- Published: Paper, Table 1." in text
    assert "pgd20_published" in csv_text(table).splitlines()[0]


def test_a_row_that_only_the_paper_has_stands_alone() -> None:
    table = build(sweep({**LINE, "row": "9-9-9", "run": False}), [made.run((1, 1, 1))])
    row = table.rows[-1]
    assert (row.label, row.jobs, row.state) == ("9-9-9", 0, "missing")
    assert "can't be run" in [cell.text for cell in row.cells]
    assert table.coverage.total == 1


def test_small_runs_are_not_compared() -> None:
    run = made.run((1, 1, 1))
    run.config["choices"] = {"scale": "smoke"}
    described = {**sweep(LINE), "source": "Paper, Table 1"}
    table = build(described, [run])
    ids = [header.id for header in table.headers]
    assert "pgd20_published" in ids and "pgd20_difference" not in ids
    said = "These runs are of scale smoke: small networks, other images."
    assert f"{said} The published numbers are the paper's, not to be compared with." in table.closing
    assert said in build({**described, "published": []}, [run]).closing, (
        "what has no printed number is as small"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"row": ["1-1-1", "x"]}, r"published\[0\]\.row: expected 1 labels"),
        ({"checkpoint": "worst"}, r"published\[0\]\.checkpoint: expected one of best, last"),
        ({"source": None}, r"published\[0\]\.source: expected where it is printed"),
        ({"pdg20": 1.0}, r"published\[0\]: expected a column of the table, came 'pdg20'; did you mean 'pgd20'"),
        ({"pgd20": "much"}, r"published\[0\]: expected a number as printed"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_printed_row_is_named(change: dict[str, Any], said: str) -> None:
    described = sweep({**LINE, **change})
    with pytest.raises(InputError, match=said):
        read_published(described, read_shape(described))


def test_a_printed_row_stands_once() -> None:
    with pytest.raises(InputError, match="expected each row once, came 1-1-1 twice"):
        read_published(sweep(LINE, LINE), read_shape(sweep()))
