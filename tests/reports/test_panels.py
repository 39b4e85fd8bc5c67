"""Figures from the runs' tables: what the axes hold is what the records say."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from advarch.errors import InputError
from advarch.genotype import candidates, stored
from advarch.genotype.candidates import Candidate, candidate
from advarch.genotype.published import published
from advarch.genotype.space import ROBNET_OPERATIONS, Space
from advarch.records import AnalysisRecord, MeasureResult, RunRecord
from advarch.reports import figure, run_tables
from advarch.reports.write import _cells
from tests.reports import made_up_runs as made

SPACE = Space(ROBNET_OPERATIONS, nodes=2, inputs=None, layout="shared")


def sweep(**plot: Any) -> dict[str, Any]:
    return {
        "name": "s",
        "rows": ["sweep.model"],
        "columns": ["clean"],
        "checkpoints": ["best"],
        "figure": plot,
    }


def run(model: str | int, **record: Any) -> RunRecord:
    config = {"sweep": {"model": model}, "seed": 0, "evaluation": {"attacks": {}}}
    return RunRecord(f"run-{model}", "", config, "done", **record)


def analysed(model: str, measure: str, **table: Any) -> RunRecord:
    result = MeasureResult(measure, "", {}, {name: tuple(column) for name, column in table.items()})
    return run(model, analyses={"best": AnalysisRecord("digits", 10, {measure: result})})


def judged(count: int = 12) -> list[Candidate]:
    random = Random(0)
    return [
        candidate(
            SPACE, SPACE.sample(random, f"c{i}"), parameters=9, clean=0.9, robust=random.random() / 2,
            inherited=random.random() / 4, flow=(random.random(), random.random()),
        )
        for i in range(count)
    ]  # fmt: skip


def searched(folder: Path, found: list[Candidate]) -> RunRecord:
    folder.mkdir(parents=True, exist_ok=True)
    candidates.write(found, folder / candidates.FILE)
    return replace(run("any"), folder=str(folder))


def shown(words: dict[str, Any], runs: list[RunRecord], panel: int = 0) -> dict[str, np.ndarray]:
    """Points of a panel by name."""
    axes = figure.drawn(words, runs).axes[panel]
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.get_lines()}


def test_a_search_s_epochs_are_lines_in_a_panel_for_each_row() -> None:
    words = sweep(
        kind="lines", table="search", panels="rows", x="epoch * sweep.model", y="val_clean, val_robust"
    )
    rows = ({"epoch": 1, "val_clean": 0.5, "val_robust": 0.25}, {"epoch": 2, "val_clean": 0.75})
    runs = [run(4, searched=rows), run(8, searched=rows)]
    found = shown(words, runs, 1)
    assert found["validation, clean"].tolist() == [[8, 50], [16, 75]]
    assert found["validation, adversarial"].tolist() == [[8, 25]]
    drawn = figure.drawn(words, [*runs, replace(run(16), state="failed")])
    assert [axes.get_title("left") for axes in drawn.axes] == ["model = 4", "model = 8"]
    assert any("not drawn: model = 16 (failed)" in text.get_text() for text in drawn.texts)


def test_blocks_are_bars_side_by_side_and_counted_as_papers_do() -> None:
    words = sweep(kind="bars", table="analysis.lipschitz", x="block", y="constant", only="a, b")
    tables = {"a": [3.0, 5.0, 1.5], "b": [2.0, 4.0, 1.0], "c": [9.0, 9.0, 9.0]}
    names = ["stages.0.0", "stages.0.1", "network"]
    runs = [analysed(name, "lipschitz", block=names, constant=values) for name, values in tables.items()]
    (axes,) = figure.drawn(words, runs).axes
    assert {str(bars.get_label()): [bar.get_height() for bar in bars] for bars in axes.containers} == {
        name: tables[name] for name in "ab"
    }
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "network"]
    first, second = ([bar.get_x() for bar in bars] for bars in axes.containers)
    width = axes.containers[0][0].get_width()
    assert np.subtract(second, first) == pytest.approx([width] * 3)


def test_candidates_are_points_lines_of_means_and_a_histogram(tmp_path: Path) -> None:
    found = judged()
    runs = [searched(tmp_path, found)]
    points = shown(sweep(kind="points", table="candidates", x="density", y="robust"), runs)
    (values,) = points.values()
    expected = sorted((c.density, 100 * c.robust) for c in found)
    assert np.asarray(sorted(map(tuple, values))) == pytest.approx(np.asarray(expected))
    lines = shown(sweep(kind="lines", table="candidates", x="convolutions", y="robust"), runs)
    (means,) = lines.values()
    for x, mean in means:
        assert mean == pytest.approx(np.mean([100 * c.robust for c in found if c.convolutions == x]))
    both = shown(sweep(kind="points", table="candidates", x="rank", y="inherited, robust"), runs)
    before, after = both["robust accuracy before fine-tuning"], both["robust accuracy"]
    order = sorted(found, key=lambda c: -c.robust)
    assert before[:, 1].tolist() == pytest.approx([100 * (c.inherited or 0) for c in order])
    assert after[:, 1].tolist() == pytest.approx([100 * c.robust for c in order])
    (axes,) = figure.drawn(sweep(kind="histogram", table="candidates", y="robust"), runs).axes
    assert sum(bar.get_height() for bar in axes.patches) == len(found)


def test_the_height_of_an_accuracy_stays_between_0_and_100_and_that_of_a_gap_does_not(tmp_path: Path) -> None:
    runs = [searched(tmp_path, [replace(c, clean=0.0, robust=0.0) for c in judged()])]
    for y, least in (("robust", 0.0), ("gap", -0.055)):
        axes = figure.drawn(sweep(kind="points", table="candidates", x="density", y=y), runs).axes[0]
        assert axes.get_ylim()[0] == pytest.approx(least)


def test_a_panel_for_each_cell_says_its_correlation(tmp_path: Path) -> None:
    found = judged()
    words = sweep(kind="points", table="candidates", panels="columns", x="flow_0, flow_1", y="gap")
    drawn = figure.drawn(words, [searched(tmp_path, found)])
    gaps = [100 * (c.clean - c.robust) for c in found]
    for place, axes in enumerate(drawn.axes):
        flow = [c.flow[place] for c in found]
        assert axes.get_title("left") == f"cell {place}"
        assert axes.get_title("right") == f"r = {np.corrcoef(flow, gaps)[0, 1]:.2f}"


def test_surfaces_share_their_heights() -> None:
    words = sweep(kind="surfaces", table="analysis.landscape", x="alpha, beta", y="loss")
    grid = {"alpha": [0, 1, 0, 1], "beta": [0, 0, 1, 1]}
    runs = [
        analysed(name, "landscape", **grid, loss=z) for name, z in (("a", [1, 2, 3, 4]), ("b", [2, 2, 2, 9]))
    ]
    drawn = figure.drawn(words, [*runs, run("c")])
    axes: list[Any] = drawn.axes
    assert [each.get_zlim() for each in axes] == [(1, 9), (1, 9)]
    assert any(text.get_text() == "c: not there yet" for text in drawn.texts)


def test_the_cells_that_were_found_stand_before_those_that_are_named(tmp_path: Path) -> None:
    named = run("x")
    named.config["backbone"] = {"genotype": "robnet_large"}
    assert run_tables.cells(named) == published("robnet_large") and run_tables.cells(run("y")) is None
    waiting = replace(
        named, config={**named.config, "backbone": {"genotype": "search"}}, folder=str(tmp_path)
    )
    assert run_tables.cells(waiting) is None
    stored.write(SPACE.sample(Random(1), "found"), tmp_path / "genotype.json")
    found = run_tables.cells(waiting)
    assert found is not None and found.name == "found"
    shape = figure.read_shape(sweep(kind="cells"))
    assert [picture.caption for picture in _cells(shape, [waiting, run("y")])] == ["The cells of x."]


def test_a_table_of_candidates_keeps_what_was_asked_for(tmp_path: Path) -> None:
    found = judged(2)
    assert candidates.read(candidates.write(found, tmp_path / "c.csv")) == found
    plain = [replace(one, inherited=None, flow=()) for one in found]
    assert candidates.read(candidates.write(plain, tmp_path / "d.csv")) == plain
    assert "inherited" not in (tmp_path / "d.csv").read_text()


@pytest.mark.parametrize(
    ("plot", "said"),
    [
        ({"kind": "histogram"}, r"expected sweep\.figure\.table with histogram"),
        ({"table": "candidate", "y": "robust"}, r"search, candidates or analysis\.MEASURE, came 'candidate'"),
        ({"table": "search", "x": "epoch", "y": "val_clear"}, r"column of the table, came 'val_clear'"),
        ({"table": "search", "x": "epoch * K", "y": "val_clean"}, r"label with numbers, came 'K'"),
        ({"table": "search", "panels": "row"}, r"rows, columns or nothing, came 'row'"),
    ],
)
def test_a_mistake_is_named(plot: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        figure.drawn(sweep(**plot), [run("a", searched=({"epoch": 1, "val_clean": 0.5},))])


def test_nothing_is_there_yet() -> None:
    for words in (
        sweep(kind="points", table="candidates", x="density", y="robust"),
        sweep(kind="separation", table="candidates"),
    ):
        texts = [t.get_text() for f in [figure.drawn(words, [run("a")])] for t in (*f.texts, *(t for a in f.axes for t in a.texts))]  # fmt: skip
        assert any("yet" in text for text in texts)


PRINTED = {
    "source": "a paper",
    "published": [
        {"row": "1-1-1", "parameters": "50k", "pgd20": 61.0},
        {"row": "1-1-2", "parameters": 80000, "pgd20": "64.5±0.5"},
        {"row": "2-2-2", "pgd20": 66.0},
    ],
}


def hollow(words: dict[str, Any], runs: list[RunRecord]) -> list[list[float]]:
    """Points of the marks that are not filled squares, sorted."""
    lines = [line for axes in figure.drawn(words, runs).axes for line in axes.get_lines()]
    return sorted(
        p for line in lines if line.get_marker() == "s" for p in np.asarray(line.get_xydata()).tolist()
    )


def test_printed_points_are_hollow_and_the_network_without_ours_is_named() -> None:
    runs = (
        made.broken()
    )  # 1-1-2 is missing, and of 2-2-2 neither the paper nor we have the size of a finished run
    words = {**made.SWEEP, **PRINTED}
    assert hollow(words, runs)[:2] == [[50000, 61], [80000, 64.5]]
    drawn = figure.drawn(words, runs)
    assert "1-1-2" in [text.get_text() for text in drawn.texts]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "best checkpoint",
        "last checkpoint",
        "paper",
    ]


def test_printed_bars_and_lines() -> None:
    bars = {**made.SWEEP, **PRINTED, "figure": {"kind": "bars", "y": "pgd20"}}
    assert [x for x, _ in hollow(bars, made.full())] == [61, 64.5, 66]
    lines = {
        **made.SWEEP, "source": "a paper", "rows": ["seed", "backbone.depths"], "published": [{"row": ["2", "1-1-1"], "pgd20": 50.0}],
        "figure": {"kind": "lines", "x": "seed", "line": "backbone.depths", "y": "pgd20"},
    }  # fmt: skip
    missing = replace(made.run((1, 1, 1), seed=2), evaluations={}, state="missing")
    runs = [made.run((1, 1, 1), seed=1), missing]
    assert hollow(lines, runs) == [[2, 50]]
    drawn = figure.drawn(lines, runs)
    assert any("not there yet: 1-1-1 at 2" in text.get_text() for text in drawn.texts)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["ours", "paper"]
