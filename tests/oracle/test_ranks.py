"""Ranks and agreement against counting by hand and scipy; the page says what is there and what is missing."""

from itertools import combinations
from pathlib import Path
from random import Random
from statistics import mean

import pytest
import yaml
from scipy import stats

from advarch.genotype import candidates, stored
from advarch.genotype.candidates import candidate
from advarch.genotype.line import to_line
from advarch.genotype.published import resolve
from advarch.genotype.space import Space
from advarch.records import RunRecord
from advarch.runs.config import data_root
from tests.oracle import page
from tests.oracle.ranks import agreement, best_of, covers, ranks
from tests.oracle.table import SPACE, SWEEP, Trained, read, robustness, write

CELLS = list(SPACE.enumerate())


def truth(seed: int = 0, count: int = 96, levels: int = 40) -> dict[str, float]:
    random = Random(seed)
    return {cell.digest: random.randrange(levels) / levels for cell in CELLS[:count]}


def test_ranks_are_scipys() -> None:
    values = truth()
    expected = stats.rankdata([-value for value in values.values()], method="min")
    assert list(ranks(values).values()) == expected.tolist() and 1 in expected


@pytest.mark.parametrize("count", [1, 3])
def test_the_best_of_random_cells_is_the_mean_over_all_draws(count: int) -> None:
    values = truth(count=8, levels=5)
    places = ranks(values)
    drawn = [min(places[digest] for digest in chosen) for chosen in combinations(values, count)]
    assert best_of(values, count) == pytest.approx(mean(drawn))


def test_agreement_is_kendalls_tau() -> None:
    values, random = truth(), Random(1)
    judged = [
        candidate(SPACE, cell, parameters=1, clean=0.9, robust=round(random.random(), 1)) for cell in CELLS
    ]
    expected = stats.kendalltau([one.robust for one in judged], list(values.values())).statistic
    assert agreement(judged, values) == pytest.approx(expected)
    assert covers(judged, values) and not covers(judged[1:], values)


def described(name: str) -> dict:
    return yaml.safe_load((data_root("sweeps") / f"{name}.yaml").read_text())


def test_the_sweep_lists_the_whole_space() -> None:
    named = described(SWEEP)["sweep"]["axes"]["backbone.genotype"]
    assert [resolve(line).cells for line in named] == [cell.cells for cell in CELLS]


def test_the_searches_are_in_that_space_and_train_as_the_table_was_trained() -> None:
    truth, found = described(SWEEP), described(page.SWEEP)
    assert Space(**found["sweep"]["space"]) == SPACE
    for key in ("backbone", "attack", "trainer", "optimizer", "validation", "evaluation"):
        assert found[key] == truth[key]


def test_a_table_comes_back_and_is_averaged_over_seeds(tmp_path: Path) -> None:
    line = to_line(CELLS[3])
    rows = [Trained(line, 0, 1582, 0.8, 0.25), Trained(line, 1, 1582, 0.7, 0.5)]
    assert read(write(rows, tmp_path / "t.csv")) == rows
    assert robustness(rows) == {CELLS[3].digest: 0.375}


def record(root: Path, seed: int, chosen: int | None) -> RunRecord:
    config = {"sweep": {"method": "some"}, "seed": seed}
    folder = root / str(seed)
    if chosen is not None:
        stored.write(CELLS[chosen], folder / "genotype.json")
    return RunRecord(str(seed), str(folder), config, "missing" if chosen is None else "done")


def test_the_page_names_ranks_and_what_is_missing(tmp_path: Path) -> None:
    values = [(96 - number) / 100 for number in range(96)]
    rows = [Trained(to_line(cell), 0, 1, 0.9, value) for cell, value in zip(CELLS, values, strict=True)]
    runs = [record(tmp_path, 0, 4), record(tmp_path, 1, 9), record(tmp_path, 2, None)]
    judged = [
        candidate(SPACE, cell, parameters=1, clean=0.9, robust=-value)
        for cell, value in zip(CELLS, values, strict=True)
    ]
    candidates.write(judged, tmp_path / "1" / candidates.FILE)
    found = page.gathered(runs, robustness(rows))
    assert found["some"].taus == pytest.approx([-1.0])
    lines = page.section(rows, found).splitlines()
    assert lines[-1] == "| some | 2 | 7.5 (5 to 10) | 89.5% | -1.00 (-1.00 to -1.00) | seed 2 |"
    assert "| one cell at random | expected | 48.5 | 48.5% | | |" in lines
