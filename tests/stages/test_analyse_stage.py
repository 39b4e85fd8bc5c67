"""The stage: every measure once, what is there is not measured again, what does not apply is skipped, files tell what the record tells."""

import copy
import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from advarch.cli.compose import planned_jobs
from advarch.cli.job import main
from advarch.errors import InputError
from advarch.metrics.measured import Measured
from advarch.records import MeasureResult
from advarch.runs.build import build_model
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder, missing_measures
from advarch.runs.tracking import NoTracker
from advarch.stages.analyse import Look, run_analysis
from advarch.stages.evaluate import run_evaluation
from advarch.stages.job import Job

OVERRIDES = [
    "dataset=digits",
    "dataset.limit=30",
    "backbone.depths=[1,0,0]",
    "backbone.widths=[0.25,1,1]",
    "stages=[analyse]",
    "trainer.accelerator=cpu",
    "threat.eps=0.05",
    "analysis.attack.steps=2",
    "evaluation.checkpoints=[best]",
    "evaluation.probe=false",
    "evaluation.attacks.pgd20.steps=2",
]


@cache
def bound() -> Config:
    """The config, composed once."""
    (planned,) = planned_jobs(OVERRIDES, check=True)
    return planned.config


def job(root: Path, only: list[str], **measures: dict[str, Any]) -> Job:
    """A run folder with random weights, as after a training; `measures` are settings that differ."""
    config = copy.deepcopy(bound())
    config["analysis"]["only"] = only
    for name, settings in measures.items():
        config["analysis"]["measures"][name] |= settings
    folder = RunFolder(root / "run")
    folder.write_config(config)
    model = build_model({**config, "seed": 7}, classes=10, image_shape=(1, 8, 8))
    safetensors.torch.save_file(model.state_dict(), folder.path / "model.safetensors")
    return Job(folder, config, NoTracker(), lambda progress: None, said.append)


said: list[str] = []


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    said.clear()
    yield


def results(folder: RunFolder) -> dict[str, MeasureResult]:
    found = folder.analysis()
    assert found is not None
    return found.checkpoints["best"].results


CHEAP = ["lipschitz", "weight_variance", "wiring"]


def test_measures_leave_numbers_a_table_and_a_picture_and_say_why_they_are_skipped(tmp_path: Path) -> None:
    made = job(tmp_path, CHEAP)
    run_analysis(made)
    found = results(made.folder)
    assert set(found) == {"weight_variance", "wiring", "lipschitz"}
    assert "network of cells" in found["wiring"].skipped
    assert any("best/wiring: skipped" in line for line in said)
    folder = made.folder.path / "analysis" / "best"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("lipschitz.csv", "lipschitz.png", "weight_variance.csv", "weight_variance.png")
    ]
    with (folder / "lipschitz.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = found["lipschitz"].table
    assert [row["block"] for row in rows] == list(table["block"]) == ["stages.0.0", "network"]
    assert [row["constant"] for row in rows] == [f"{value:.9g}" for value in table["constant"]]
    assert (folder / "lipschitz.png").read_bytes().startswith(b"\x89PNG")
    # The weights are not those that the experiment's seed draws, so the variance has changed.
    assert found["weight_variance"].numbers["variance_ratio"] != 1.0
    assert not missing_measures(made.folder.analysis(), made.config)


def test_what_is_there_is_not_measured_again_and_a_changed_setting_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job(tmp_path, CHEAP)
    run_analysis(first)
    before = results(first.folder)
    measured: list[str] = []
    original = Look.measured
    monkeypatch.setattr(Look, "measured", lambda self, name: (measured.append(name), original(self, name))[1])
    run_analysis(first)
    assert measured == []
    second = job(tmp_path, CHEAP[:2], lipschitz={"slack": 0.1})
    assert missing_measures(second.folder.analysis(), second.config) == [("best", "lipschitz")]
    run_analysis(second)
    assert measured == ["lipschitz"]
    after = results(second.folder)
    assert after["weight_variance"] == before["weight_variance"]
    assert after["lipschitz"].numbers != before["lipschitz"].numbers and "wiring" in after


def test_numbers_of_other_images_are_not_kept_beside_new_ones(tmp_path: Path) -> None:
    made = job(tmp_path, ["weight_variance", "wiring"])
    run_analysis(made)
    fewer = job(tmp_path, ["wiring"])
    fewer.config["analysis"]["limit"] = 10
    run_analysis(fewer)
    found = made.folder.analysis()
    assert found is not None and found.checkpoints["best"].images == 10
    assert set(found.checkpoints["best"].results) == {"wiring"}


def test_killed_between_two_measures_it_goes_on_with_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(tmp_path, CHEAP)
    original = Look.measured

    def dies(self: Look, name: str) -> MeasureResult:
        if name == "weight_variance" and not died:
            died.append(name)
            raise KeyboardInterrupt
        return original(self, name)

    died: list[str] = []
    monkeypatch.setattr(Look, "measured", dies)
    with pytest.raises(KeyboardInterrupt):
        run_analysis(made)
    assert [name for _, name in missing_measures(made.folder.analysis(), made.config)] == CHEAP[1:]
    run_analysis(made)
    assert not missing_measures(made.folder.analysis(), made.config)


def test_the_stage_is_finished_when_nothing_is_missing(tmp_path: Path) -> None:
    made = job(tmp_path, ["weight_variance"])
    assert not made.folder.finished("analyse", made.config)
    run_analysis(made)
    made.folder.begin("analyse")
    made.folder.end("analyse", "done")
    assert made.folder.finished("analyse", made.config)
    more = job(tmp_path, ["weight_variance", "wiring"])
    assert not more.folder.finished("analyse", more.config)
    assert more.folder.record(more.config).analyses["best"].results["weight_variance"].numbers


def test_curves_take_from_the_evaluation_what_it_has_and_leave_it_as_it_was(tmp_path: Path) -> None:
    made = job(tmp_path, ["accuracy_curves"], accuracy_curves={"eps": [0.02, 0.05], "steps": [1, 2]})
    run_evaluation(made)
    evaluated, asked = made.folder.evaluation(), []
    from advarch.stages import columns

    original = columns.evaluate

    def spy(*arguments: Any, **settings: Any) -> None:
        asked.append(arguments[2].name)
        original(*arguments, **settings)

    columns.evaluate = spy  # type: ignore[assignment]
    try:
        run_analysis(made)
    finally:
        columns.evaluate = original
    # Only the columns at eps 0.02 and after 1 step are new.
    assert asked == ["pgd20", "pgd20"]
    assert made.folder.evaluation() == evaluated
    assert evaluated is not None
    own = evaluated.checkpoints["best"].result("pgd20")
    found = results(made.folder)["accuracy_curves"].numbers
    assert own is not None and found["eps=0.05"] == found["steps=2"] == own.accuracy
    assert set(found) == {"eps=0", "eps=0.02", "eps=0.05", "steps=1", "steps=2"}


def infinite(model: Any, x: Any, y: Any, *, depth: int = 1) -> Measured:
    """A stranger's measure, with a number that JSON has no word for."""
    return Measured(
        {"bound": float("inf"), "depth": depth}, {"place": ["a", "b"], "value": [0.1 + 0.2, float("nan")]}
    )


def test_a_measure_of_one_s_own_is_drawn_and_what_is_not_finite_is_left_empty(tmp_path: Path) -> None:
    made = job(tmp_path, ["weight_variance"])
    node = {"_target_": f"{__name__}.infinite", "_partial_": True, "depth": 3}
    analysis = {**made.config["analysis"], "measures": {"mine": node}, "only": None}
    own = Job(made.folder, {**made.config, "analysis": analysis}, NoTracker(), made.report, made.say)
    run_analysis(own)
    found = results(made.folder)["mine"]
    assert found.kind == "infinite" and found.numbers == {"bound": None, "depth": 3}
    assert found.table == {"place": ("a", "b"), "value": (0.1 + 0.2, None)}
    assert (made.folder.path / "analysis" / "best" / "mine.csv").read_text() == "place,value\na,0.3\nb,\n"
    assert (made.folder.path / "analysis" / "best" / "mine.png").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("analysis.only=[lipschits]", ["analysis.only", "lipschitz", "lipschits"]),
        ("+analysis.measures.lipschitz.slak=1", ["analysis.measures.lipschitz.slak", "slack"]),
        ("analysis.measures.lipschitz.output_norm=l3", ["output_norm", "'l1'", "'l3'"]),
        ("analysis.limit=0", ["analysis.limit", "0"]),
        ("analysis.checkpoints=[first]", ["analysis.checkpoints[0]", "first"]),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        planned_jobs(["dataset=digits", override], check=True)
    assert all(word in str(raised.value) for word in words)


TINY = [
    "dataset=digits",
    "dataset.limit=80",
    "dataset.batch_size=36",
    "stages=[train,evaluate,analyse]",
    "trainer=default",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "attack.steps=1",
    "evaluation.probe=false",
    "evaluation.gallery=0",
    "evaluation.attacks.pgd20.steps=2",
    "analysis.attack.steps=2",
    "analysis.measures.convolution_norms.steps=2",
    "analysis.measures.cell_bound.steps=2",
    "analysis.measures.landscape.size=3",
    "analysis.measures.accuracy_curves.steps=[1]",
]
OF_ALL = {
    "lipschitz",
    "weight_variance",
    "convolution_norms",
    "landscape",
    "gradient_variance",
    "accuracy_curves",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "measures"),
    [
        (["backbone=ds_net", "backbone.channels=4", "backbone.modules=3"], {"attention"}),
        (["backbone=racl_v1", "backbone.channels=2", "backbone.cells=3"], {"cell_bound", "wiring", "fsp"}),
    ],
)
def test_trained_evaluated_and_looked_into_in_one_command(
    network: list[str], measures: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (planned,) = planned_jobs([*TINY, *network, f"outputs={tmp_path}"], check=True)
    planned.folder.write_config(planned.config)
    assert main([str(planned.folder.path)]) == 0
    assert {stage: s.state for stage, s in planned.folder.status().stages.items()} == dict.fromkeys(
        ("train", "evaluate", "analyse"), "done"
    )
    found = results(planned.folder)
    assert {name for name, result in found.items() if not result.skipped} == OF_ALL | measures
    drawn = {path.name for path in (planned.folder.path / "analysis" / "best").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in OF_ALL | measures for kind in ("csv", "png")}
    capsys.readouterr()
    assert main([str(planned.folder.path)]) == 0
    assert "nothing left to do" in capsys.readouterr().out
