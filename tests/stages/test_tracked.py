"""What a stage tells the tracker when it ends: its pictures and files, costs, and own beside printed numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.runs.folder import RunFolder
from advarch.runs.tracking import NoTracker
from advarch.stages.job import Job
from advarch.stages.tracked import attacks, numbers, tell
from tests.reports import made_up_runs as made

SWEEP = made.SWEEP | {
    "published": [
        {"row": "1-1-1", "pgd20": 60.0, "source": "Table 1"},
        {"row": "1-1-1", "checkpoint": "last", "clean": 95.5, "source": "Table 1"},
        {"row": "2-2-2", "pgd20": 70.0, "source": "Table 1"},
    ]
}


def of_table(scale: str = "paper") -> RunRecord:
    run = made.run((1, 1, 1))
    return replace(run, config={**run.config, "sweep": SWEEP, "choices": {"scale": scale}})


def test_each_attack_has_its_interval_and_the_number_printed_in_the_runs_row() -> None:
    rows = {(row["checkpoint"], row["attack"]): row for row in attacks(of_table())}
    assert len(rows) == 6
    row = rows["best", "pgd20"]
    low, high = made.wilson(228, 360)
    assert (row["accuracy"], row["low"], row["high"]) == pytest.approx(
        (100 * 228 / 360, 100 * low, 100 * high)
    )
    assert row["published"] == 60.0 and row["difference"] == pytest.approx(100 * 228 / 360 - 60)
    assert rows["last", "clean"]["published"] == 95.5
    others = [row for key, row in rows.items() if key not in (("best", "pgd20"), ("last", "clean"))]
    assert {(row["published"], row["difference"]) for row in others} == {(None, None)}
    assert {tuple(row) for row in rows.values()} == {tuple(row)}, (
        "equal columns in every row, for W&B's table"
    )


def test_at_another_scale_there_is_no_difference_and_without_a_sweep_nothing_is_printed() -> None:
    small = next(row for row in attacks(of_table("small")) if row["published"] == 60.0)
    assert small["difference"] is None
    assert {row["published"] for row in attacks(made.run((1, 1, 1)))} == {None}


def test_a_flag_stands_beside_its_attack() -> None:
    flagged = {(row["checkpoint"], row["attack"]): row["flags"] for row in attacks(made.broken()[2])}
    assert (
        flagged["best", "pgd20"] == "zero_gradient"
        and flagged["best", "clean"] == flagged["last", "pgd20"] == ""
    )


def test_costs_and_accuracies() -> None:
    found = numbers(made.run((1, 1, 1)))
    assert found["best/pgd20"] == 228 / 360 and found["last/clean"] == 348 / 360
    assert found["cost/parameters"] == 54_612 and found["cost/seconds"] == pytest.approx(24.4)
    assert numbers(replace(made.run((1, 1, 1)), size=None, train=None, evaluations={})) == {}


class Noting:
    """A tracker that notes what is shown and kept."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def show(self, values: Any, pictures: Any, tables: Any, step: int) -> None:
        self.told.append((sorted(pictures), sorted(tables), step))

    def keep(self, kind: str, files: Any) -> None:
        self.told.append((kind, [file.name for file in files]))


def job(tmp_path: Path, tracker: Any, artifacts: list[str]) -> tuple[Job, list[str]]:
    said: list[str] = []
    for name in (
        "genotype.png",
        "cells.png",
        "search.png",
        "curves.png",
        "gallery.png",
        "analysis/best/fsp.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    config = {
        "stages": [], "trainer": {"max_epochs": 3}, "search": {"name": "racl", "epochs": 2}, "logger": {"artifacts": artifacts}
    }  # fmt: skip
    return Job(RunFolder(tmp_path), config, tracker, lambda progress: None, said.append), said


STAGES = [
    ("search", ["cells", "genotype", "search"], [], 3, [("genotype", ["genotype.json"])]),
    ("train", ["curves"], [], 7, [("model", ["model.safetensors", "model.json"])]),
    ("evaluate", ["gallery"], ["attacks"], 7, []),
    ("analyse", ["analysis/best/fsp"], [], 7, []),
]


@pytest.mark.parametrize(("stage", "pictures", "tables", "step", "kept"), STAGES)
def test_a_stage_shows_its_own_pictures_and_keeps_files_only_when_asked(
    tmp_path: Path, stage: str, pictures: list[str], tables: list[str], step: int, kept: list[Any]
) -> None:
    for artifacts, files in (([], []), (["model", "genotype"], kept)):
        noting = Noting()
        made_up, said = job(tmp_path, noting, artifacts)
        tell(made_up, stage)
        assert noting.told == [(pictures, tables, step), *files] and not said


def test_what_goes_wrong_is_said_and_the_stage_has_ended_well(tmp_path: Path) -> None:
    made_up, said = job(tmp_path, Noting(), [])
    (tmp_path / "size.json").write_text("{")
    tell(made_up, "train")
    assert len(said) == 1 and "size.json is damaged" in said[0]
    quiet, said = job(tmp_path, NoTracker(), [])
    tell(quiet, "train")
    assert not said


def test_a_row_that_no_column_has_is_the_sweeps_mistake() -> None:
    run = of_table()
    with pytest.raises(InputError, match="published"):
        attacks(
            replace(
                run, config=run.config | {"sweep": SWEEP | {"published": [{"row": "1-1-1", "nosuch": 1}]}}
            )
        )
