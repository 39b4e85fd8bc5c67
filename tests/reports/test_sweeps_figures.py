"""What the sweeps want drawn is in their tables: a figure's columns are columns, its labels rows."""

from pathlib import Path

import pytest
import yaml

from advarch.reports.shape import read_shape
from advarch.runs.config import LOADER

SWEEPS = Path(__file__).parents[2] / "sweeps"
FIGURES = {str(path.relative_to(SWEEPS)): path for path in sorted(SWEEPS.glob("*/fig*.yaml"))}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_s_columns_are_in_the_table(name: str) -> None:
    shape = read_shape(yaml.load(FIGURES[name].read_text(), Loader=LOADER)["sweep"])
    for plot in (plot for plot in shape.figures if not plot.table and plot.kind != "cells"):
        wanted = [word.strip() for word in plot.y.split(",")]
        there = {column.partition("@")[0] for column in shape.columns}
        assert set(wanted) <= there and (len(wanted) == 1 or plot.kind == "bars")
        labels = {"points": [], "bars": [], "lines": [plot.line], "grid": [plot.x]}[plot.kind]
        assert set(labels) <= set(shape.rows)


def test_figures_of_the_papers() -> None:
    kinds = {name: [plot.kind for plot in read_shape(yaml.load(path.read_text(), Loader=LOADER)["sweep"]).figures] for name, path in FIGURES.items()}  # fmt: skip
    assert kinds["robustwrn/fig1b.yaml"] == ["points", "grid"] and kinds["racl/fig4.yaml"] == ["lines"] * 3
    assert [name for name, drawn in kinds.items() if drawn == ["bars"]] == [
        "dsnet/fig4.yaml",
        "dsnet/fig5.yaml",
        "dsnet/fig6.yaml",
        "nadar/fig4.yaml",
        "robustwrn/fig2d.yaml",
        "robustwrn/fig3d.yaml",
    ]
