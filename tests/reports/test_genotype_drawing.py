"""Drawings of cells: an arc for every edge, equal bytes for equal genotypes, and the command that makes them."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from advarch.cli.main import main
from advarch.genotype import stored
from advarch.genotype.operations import OPERATIONS
from advarch.genotype.published import PUBLISHED, published
from advarch.reports.genotype_drawing import COLOURS, arcs, render


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_edge_has_an_arc_of_its_own_on_its_side(name: str) -> None:
    for cell in published(name).cells:
        drawn = list(arcs(cell))
        assert [(arc.end, arc.op, arc.start) for arc in drawn] == [(n, e.op, e.source) for n, e in cell.edges]
        assert len({(arc.start, arc.end, arc.height) for arc in drawn}) == len(drawn)
        assert all((arc.height > 0) == OPERATIONS[arc.op].convolves for arc in drawn)


@pytest.mark.parametrize("name", ["darts_v2", "nasnet_a", "robnet_large", "robnet_free"])
def test_the_svg_has_a_path_in_its_colour_for_every_edge_and_its_words_as_text(name: str) -> None:
    genotype = published(name)
    svg = render(genotype, form="svg")
    assert svg == render(genotype, form="svg")
    root = ET.fromstring(svg)
    words = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {name, genotype.source} <= words
    paths = [path.get("style", "") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    edges = [edge.op for cell in genotype.cells for _, edge in cell.edges]
    legend = 0 if name in ("darts_v2", "nasnet_a") else 1
    for op in set(edges):
        assert sum(f"stroke: {COLOURS[op]}" in style for style in paths) == edges.count(op) + legend, op
        assert OPERATIONS[op].label in words


def test_the_png_is_a_picture_and_the_colours_are_told_apart() -> None:
    png = render(published("darts_v1"))
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and png == render(published("darts_v1"))
    assert set(COLOURS) == set(OPERATIONS) and len(set(COLOURS.values())) == len(COLOURS)


def test_the_command_draws_a_name_a_file_and_what_a_run_found(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "draw=genotype", "genotype=racl_v1"]) == 0
    folder = tmp_path / "outputs" / "genotypes"
    assert capsys.readouterr().out.split() == [
        f"outputs/genotypes/racl_v1.{form}" for form in ("svg", "png", "json")
    ]
    assert stored.read(folder / "racl_v1.json") == published("racl_v1")
    run = tmp_path / "run"
    stored.write(published("darts_v1"), run / "genotype.json")
    assert main(["report", "draw=genotype", f"genotype={run}"]) == 0
    assert {path.name for path in run.iterdir()} == {
        "genotype.json",
        "darts_v1.svg",
        "darts_v1.png",
        "darts_v1.json",
    }
    other = tmp_path / "trained"
    other.mkdir()
    (other / "config.yaml").write_text("backbone: {genotype: pc_darts}\n")
    assert main(["report", "draw=genotype", f"genotype={other}"]) == 0
    assert stored.read(other / "pc_darts.json") == published("pc_darts")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["draw=cell"], "draw: expected genotype or candidates, came 'cell'"),
        (["draw=genotype"], "genotype: expected a name, a file or a run folder, came none"),
        (["draw=genotype", "genotype=darts_v4"], "unknown name 'darts_v4'; did you mean 'darts_v"),
        (
            ["draw=genotype", "genotype=darts_v1", "seed=3"],
            "seed: expected one of draw=, genotype=, candidates=, outputs=, came 'seed=3'",
        ),
        (["draw=genotype", "genotype=."], "expected a run folder with a config.yaml"),
    ],
)
def test_what_can_t_be_drawn_is_explained(
    words: list[str], said: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and re.fullmatch(r"advarch: error: .*\n", error)
