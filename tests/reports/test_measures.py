"""What an analysis found, as pictures, on the page, and as columns of a table."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from advarch.errors import InputError
from advarch.records import AnalysisRecord, MeasureResult, RunRecord
from advarch.reports.attention import spread
from advarch.reports.columns import read_columns
from advarch.reports.measures import BY_PLACE, render
from advarch.reports.networks import points
from advarch.reports.shape import read_shape
from advarch.reports.table import build
from advarch.reports.write import write
from tests.reports.made_up_runs import SWEEP, full
from tests.reports.made_up_runs import run as made_up

LIPSCHITZ = MeasureResult(
    "lipschitz",
    "0" * 8,
    {"network": 12.5, "stability": 0.75, "largest_block": 40.0},
    {"block": ("stages.0.0", "stages.1.0", "network"), "constant": (40.0, 20.0, 12.5)},
)
CURVES = MeasureResult(
    "accuracy_curves",
    "1" * 8,
    {"eps=0": 0.9, "steps=3": 0.5},
    {
        "varied": ("eps", "steps"),
        "value": (0.0, 3.0),
        "accuracy": (0.9, 0.5),
        "low": (0.8, 0.4),
        "high": (1.0, 0.6),
        "attack": ("pgd20", "pgd20"),
        "norm": ("inf", "inf"),
        "eps": (0.0, 8 / 255),
    },
)
SKIPPED = MeasureResult("fsp", "2" * 8, skipped="expected a network of <cells>")


def looked_into(run: RunRecord, network: float) -> RunRecord:
    found = replace(LIPSCHITZ, numbers={**LIPSCHITZ.numbers, "network": network, "bound": None})
    record = AnalysisRecord("digits", 359, {"lipschitz": found, "curves": CURVES, "fsp": SKIPPED})
    return replace(run, analyses={"best": record})


def runs() -> list[RunRecord]:
    first, *others = full()[:3]
    return [looked_into(first, 12.5), looked_into(others[0], 0.000123456), others[1]]


def sweep(*columns: str) -> dict:
    return {**SWEEP, "columns": list(columns), "figure": None}


def test_a_number_of_the_analysis_is_a_column_at_the_checkpoint_of_the_row() -> None:
    table = build(sweep("pgd20", "analysis.lipschitz.network", "analysis.curves.eps=0"), runs())
    assert [header.heading for header in table.headers[-2:]] == ["lipschitz network", "curves eps=0"]
    shown = {(row.label, row.checkpoint): row.cells[-2] for row in table.rows}
    assert shown["1-1-1", "best"].text == "12.5" and shown["1-1-1", "best"].value == 12.5
    assert shown["1-1-2", "best"].text == "0.0001235"
    for place in (("1-1-1", "last"), ("1-2-1", "best")):
        assert shown[place].state == "missing" and shown[place].note == "not in the analysis"


def test_a_number_that_no_analysis_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"analysis\.lipschitz\.netwrok.*analysis\.lipschitz\.network"):
        build(sweep("analysis.lipschitz.netwrok"), runs())
    with pytest.raises(InputError, match=r"analysis\.MEASURE\.NUMBER"):
        build(sweep("analysis.lipschitz"), full()[:1])
    # Before anything is analysed nobody knows the names.
    build(sweep("analysis.lipschitz.network"), full()[:1])


def test_a_number_of_the_analysis_is_an_axis() -> None:
    x, y = read_columns(("analysis.lipschitz.network", "pgd20"), runs())
    found = points(read_shape(sweep("pgd20")), runs(), x, y, "best")
    assert [(point.label, point.x) for point in found] == [("1-1-1", 12.5), ("1-1-2", 0.000123456)]


def test_the_page_shows_numbers_pictures_and_why_there_are_none(tmp_path: Path) -> None:
    write(sweep("pgd20"), [replace(runs()[0], curves=())], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Analysis of the best checkpoint: digits, 359 test images" in page
    assert "12.5" in page and "not finite" in page
    assert "expected a network of &lt;cells&gt;" in page and "<cells>" not in page
    for name in ("lipschitz", "curves"):
        assert page.count(f"{name}, best checkpoint.</figcaption>") == 1


def test_the_bound_of_a_cell_is_the_product_over_its_nodes() -> None:
    table = {
        "cell": ["a", "a", "b"],
        "node": [2, 3, 2],
        "constant": [2.0, 3.0, 0.0],
        "constant_exact": [1.0, math.e, 5.0],
    }
    drawn = BY_PLACE["cell_bound"]({"log_bound": 1.0, "log_bound_exact": 2.0}, table)
    assert drawn.places == ["a", "b"]
    assert drawn.lines["exact norms"] == pytest.approx([1.0, math.log(5)])
    assert drawn.lines["kernel norms"][0] == pytest.approx(math.log(6)) and math.isnan(
        drawn.lines["kernel norms"][1]
    )


@pytest.mark.parametrize(
    "result",
    [
        LIPSCHITZ,
        CURVES,
        replace(CURVES, table={name: column[:1] for name, column in CURVES.table.items()}),
        MeasureResult("mine", "", {"a": None}, {"place": ("x", "y"), "value": (1.0, None)}),
        MeasureResult("mine", "", {"a": 1.0}),
    ],
)
def test_every_measure_has_a_picture_for_a_light_and_a_dark_page(result: MeasureResult) -> None:
    light, dark = render(result), render(result, dark=True)
    assert light.startswith(b"\x89PNG") and dark.startswith(b"\x89PNG") and light != dark
    assert render(result) == light


def test_attention_of_several_seeds_is_drawn_with_its_spread(tmp_path: Path) -> None:
    def run(seed: int, weights: tuple[float, ...], depths: tuple[int, int, int] = (1, 1, 1)) -> RunRecord:
        table = {"module": (1, 1), "block": ("residual", "dense"), "weight": weights}
        found = MeasureResult("attention", "3" * 8, {"largest": max(weights)}, table)
        record = AnalysisRecord("digits", 359, {"attention": found})
        return replace(made_up(depths, seed=seed), analyses={"best": record})

    seeds = [run(0, (0.25, 0.75)), run(1, (0.5, 0.5))]
    paths = write(sweep("pgd20"), [*seeds, run(0, (0.1, 0.9), (1, 1, 2))], tmp_path)
    assert [path.name for path in paths if "attention" in path.name] == ["report_attention_1.png"]
    text = (tmp_path / "report.md").read_text()
    assert "Attention weights by depth, 1-1-1: mean and standard deviation over 2 seeds." in text
    together = spread([found.analyses["best"].results["attention"].table for found in seeds])
    assert together["weight"] == [0.375, 0.625] and together["deviation"] == [0.125, 0.125]
