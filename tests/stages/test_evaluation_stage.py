"""The stage: what is there is not run again, a kill loses no more than a batch, images and gallery on request."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from advarch import records
from advarch.cli.compose import planned_jobs
from advarch.errors import InputError
from advarch.evaluation import evaluate as evaluation
from advarch.evaluation.outcomes import COST, load_outcomes
from advarch.evaluation.suite import Suite
from advarch.noise import ExampleGenerator, derive_seed
from advarch.runs.build import build_model, load_data, make
from advarch.runs.columns import plan
from advarch.runs.folder import Evaluation, RunFolder, missing_columns
from advarch.runs.tracking import NoTracker
from advarch.stages import columns, shares
from advarch.stages.evaluate import _same_weights, run_evaluation
from advarch.stages.job import Job

OVERRIDES = [
    "dataset=digits",
    "dataset.limit=60",
    "backbone.depths=[1,0,0]",
    "backbone.widths=[0.25,1,1]",
    "stages=[evaluate]",
    "evaluation.checkpoints=[last]",
    "evaluation.batch_size=10",
    "evaluation.probe=false",
    "trainer.accelerator=cpu",
    "threat.eps=0.05",
]


def job(root: Path, *more: str) -> Job:
    """A run folder with random weights, as after a training."""
    (planned,) = planned_jobs([*OVERRIDES, f"outputs={root}", *more], check=True)
    folder, config = planned.folder, planned.config
    folder.write_config(config)
    model = build_model(config, classes=10, image_shape=(1, 8, 8))
    safetensors.torch.save_file(model.state_dict(), folder.path / "model_last.safetensors")
    return Job(folder, config, NoTracker(), lambda progress: None, lambda line: None)


def results(folder: RunFolder) -> dict[str, records.AttackResult]:
    found = folder.evaluation()
    assert isinstance(found, Evaluation)
    return {r.name: r for r in found.checkpoints["last"].results}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attacks that are run, as they are."""
    names: list[str] = []
    original = evaluation.evaluate

    def spy(*arguments: Any, **settings: Any) -> None:
        names.append(arguments[2].name)
        original(*arguments, **settings)

    monkeypatch.setattr("advarch.stages.columns.evaluate", spy)
    return names


def test_adding_one_attack_runs_that_attack_only(tmp_path: Path, ran: list[str]) -> None:
    first = job(tmp_path)
    run_evaluation(first)
    before = results(first.folder)
    assert list(before) == ["clean", "fgsm", "pgd20", "worst"]
    del ran[:]
    second = job(tmp_path, "+attack@evaluation.attacks.mim=mim", "+evaluation.grids.fgsm={eps: [0.01]}")
    assert second.folder.path == first.folder.path
    assert {name for _, name in missing_columns(second.folder.evaluation(), second.config)} == {
        "mim",
        "fgsm@eps=0.01",
        "worst",
    }
    run_evaluation(second)
    # A column of a grid goes by the name of its attack, whose random numbers it shares.
    assert sorted(ran) == ["fgsm", "mim"]
    after = results(second.folder)
    assert after["pgd20"] == before["pgd20"]
    assert "mim" in after["worst"].note and "eps=0.01" not in after["worst"].note
    assert not missing_columns(second.folder.evaluation(), second.config)


@pytest.mark.parametrize(
    ("more", "fast"), [([], True), (["trainer.fast=false"], False), (["evaluation.fast=false"], False)]
)
def test_attacks_ask_a_copy_unless_the_fast_path_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], fast: bool
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("advarch.evaluation.evaluate.copied", lambda model, x, bf16: asked.append(x))
    run_evaluation(job(tmp_path, "evaluation=quick", *more))
    assert bool(asked) == fast


def test_a_best_epoch_that_was_the_last_is_evaluated_once(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = "evaluation.checkpoints=[best,last]"
    apart, once = job(tmp_path / "apart", both), job(tmp_path / "once", both)
    for each in (apart, once):
        last = each.folder.path / "model_last.safetensors"
        (each.folder.path / "model.safetensors").write_bytes(last.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr("advarch.stages.evaluate._same_weights", lambda run, suite: {})
        run_evaluation(apart)
    assert ran == ["clean", "fgsm", "pgd20"] * 2
    del ran[:]
    run_evaluation(once)
    assert ran == ["clean", "fgsm", "pgd20"]
    own, _ = load_outcomes(apart.folder.path / "outcomes.npz")
    shared, _ = load_outcomes(once.folder.path / "outcomes.npz")
    assert shared.keys() == own.keys() and "last/pgd20" in own
    for key, outcome in own.items():
        np.testing.assert_array_equal(shared[key].correct, outcome.correct)
        np.testing.assert_array_equal(shared[key].distance, outcome.distance)
    found = once.folder.evaluation()
    assert found is not None and apart.folder.evaluation() is not None
    assert all("evaluated once, as best" in r.note for r in found.checkpoints["last"].results)
    assert not any("evaluated once" in r.note for r in found.checkpoints["best"].results)


def test_other_weights_and_saved_images_are_evaluated_on_their_own(tmp_path: Path) -> None:
    for name, content in (("model.safetensors", b"a"), ("model_last.safetensors", b"b")):
        (tmp_path / name).write_bytes(content)
    suite = Suite(attacks={}, checkpoints=["best", "last"])
    assert _same_weights(tmp_path, suite) == {}
    (tmp_path / "model.safetensors").write_bytes(b"b")
    assert _same_weights(tmp_path, suite) == {"last": "best"}
    assert _same_weights(tmp_path, replace(suite, save_images=True)) == {}
    (tmp_path / "model.safetensors").unlink()
    assert _same_weights(tmp_path, suite) == {}


def test_a_share_is_random_fixed_and_said(tmp_path: Path) -> None:
    made = job(tmp_path, "+evaluation.shares.pgd20=0.25")
    run_evaluation(made)
    column = results(made.folder)["pgd20"]
    outcomes, _ = load_outcomes(made.folder.path / "outcomes.npz")
    index = outcomes["last/pgd20"].index
    assert column.total == len(index) == 15 and "random 25 %" in column.note
    assert "worst" not in results(made.folder)
    again = job(tmp_path / "again", "+evaluation.shares.pgd20=0.25", "backbone.widths=[0.5,1,1]")
    run_evaluation(again)
    outcomes, _ = load_outcomes(again.folder.path / "outcomes.npz")
    assert np.array_equal(outcomes["last/pgd20"].index, index)


def test_a_column_of_images_made_on_another_run(tmp_path: Path) -> None:
    source = job(tmp_path, "seed=1")
    weights = (source.folder.path / "model_last.safetensors").read_bytes()
    (source.folder.path / "model.safetensors").write_bytes(weights)
    asked = f"evaluation.sources={{copy: {source.folder.path}}}"
    made = job(tmp_path, asked)
    run_evaluation(made)
    found = results(made.folder)
    assert list(found) == ["clean", "fgsm", "pgd20", "fgsm@source=copy", "pgd20@source=copy", "worst"]
    assert source.folder.path.name in found["pgd20@source=copy"].note
    # The same as written plainly: the source's images, shown to this network.
    networks = [build_model(each.config, classes=10, image_shape=(1, 8, 8)).eval() for each in (made, source)]
    batches = list(load_data(made.config).test_loader("cpu"))
    x, y, index = (torch.cat(part) for part in zip(*batches, strict=True))
    attack = make("attack", made.config["evaluation"]["attacks"]["pgd20"])
    generator = ExampleGenerator(derive_seed(made.config["seed"], "evaluation", "pgd20"), index)
    x_adv = attack(networks[1], x, y, generator=generator)
    with torch.no_grad():
        right = (networks[0](x).argmax(1) == y) & (networks[0](x_adv).argmax(1) == y)
    assert found["pgd20@source=copy"].correct == int(right.sum())
    assert not missing_columns(made.folder.evaluation(), made.config)
    # What is there stays when the source is gone: nothing is run again.
    (source.folder.path / "model.safetensors").unlink()
    run_evaluation(made)
    assert results(made.folder) == found


def test_more_steps_of_a_grid_begin_with_the_fewer(tmp_path: Path) -> None:
    made = job(tmp_path, "+evaluation.grids.pgd20={steps: [1, 3, 9]}", "evaluation.batch_size=60")
    run_evaluation(made)
    outcomes, _ = load_outcomes(made.folder.path / "outcomes.npz")
    stand = [outcomes[f"last/pgd20{more}"].correct for more in ("@steps=1", "@steps=3", "@steps=9", "")]
    for fewer, more in pairwise(stand):
        assert (more <= fewer).all()


def test_steps_that_do_not_reach_the_radius_are_said(tmp_path: Path) -> None:
    made = job(tmp_path, "evaluation.attacks.pgd20.steps=2", "evaluation.attacks.pgd20.step_size=0.02")
    run_evaluation(made)
    found = results(made.folder)
    assert "add up to 0.04, less than the radius 0.05" in found["pgd20"].note
    assert "add up" not in found["fgsm"].note + found["worst"].note


def test_worst_case_columns_are_cumulative_and_depend_on_those_before(tmp_path: Path) -> None:
    made = job(tmp_path, "evaluation.worst_case=true")
    run_evaluation(made)
    found = results(made.folder)
    assert found["pgd20"].attacked == found["fgsm"].correct
    assert found["worst"].correct == found["pgd20"].correct <= found["fgsm"].correct
    assert "cumulative" in found["pgd20"].note and "fgsm" in found["pgd20"].note
    apart, after = plan(job(tmp_path / "b").config), plan(made.config)
    assert apart["fgsm"].settings == after["fgsm"].settings
    assert apart["pgd20"].settings != after["pgd20"].settings


def test_kept_images_are_those_that_were_counted(tmp_path: Path) -> None:
    made = job(tmp_path, "evaluation.save_images=true")
    run_evaluation(made)
    folder = made.folder.path
    images = np.load(folder / "images" / "last" / "pgd20.npy")
    outcomes, _ = load_outcomes(folder / "outcomes.npz")
    outcome, clean = outcomes["last/pgd20"], outcomes["last/clean"]
    attacked = clean.correct == 1
    assert images.shape == (60, 1, 8, 8) and np.isnan(images[~attacked]).all()
    assert (images[attacked] >= 0).all() and (images[attacked] <= 1).all()
    model = build_model(made.config, classes=10, image_shape=(1, 8, 8)).eval()
    with torch.no_grad():
        said = model(torch.from_numpy(images[attacked])).argmax(1).numpy()
        clean_says = model(torch.from_numpy(_test_images(made)[attacked])).argmax(1).numpy()
    assert np.array_equal(said == clean_says, outcome.correct[attacked] == 1)
    assert (folder / "gallery.png").read_bytes().startswith(b"\x89PNG")


def _test_images(made: Job) -> Any:
    return np.concatenate([b.x.numpy() for b in load_data(made.config).test_loader("cpu")])


def test_killed_in_the_middle_of_an_attack_it_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(tmp_path / "whole")
    run_evaluation(whole)
    killed = job(tmp_path / "killed")
    file = killed.folder.path / "outcomes.npz"
    original = columns.evaluate

    def mortal(*arguments: Any, save: Callable[[], None], **settings: Any) -> None:
        def saved() -> None:
            save()
            found, _ = load_outcomes(file)
            if "last/pgd20" in found and 10 <= (found["last/pgd20"].correct >= 0).sum() < 60:
                os.kill(os.getpid(), signal.SIGKILL)

        original(*arguments, save=saved, **settings)

    monkeypatch.setattr(shares, "SAVE_SECONDS", 0.0)
    if (pid := os.fork()) == 0:
        try:
            monkeypatch.setattr(columns, "evaluate", mortal)
            run_evaluation(killed)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    half, _ = load_outcomes(file)
    assert 0 < (half["last/pgd20"].correct >= 0).sum() < 60
    assert not (killed.folder.path / "evaluation.json").exists()
    run_evaluation(killed)
    ours, _ = load_outcomes(file)
    theirs, _ = load_outcomes(whole.folder.path / "outcomes.npz")
    timeless = [COST.index(c) for c in ("queries", "forwards", "attacked")]
    for name, outcome in theirs.items():
        assert np.array_equal(ours[name].correct, outcome.correct)
        assert np.array_equal(ours[name].queries, outcome.queries)
        # No image was attacked twice: what the two lives cost is what one costs.
        assert np.array_equal(ours[name].cost[timeless], outcome.cost[timeless])


SUITES = {
    "quick": ["clean", "fgsm", "pgd20", "worst"],
    "robustwrn": ["clean", "fgsm", "pgd20", "gama", "cw_linf", "autoattack", "worst"],
    "robnet": ["clean", "fgsm", "pgd20", "pgd100"]
    + [f"pgd100@steps={n}" for n in (7, 20, 50, 200, 500, 1000)]
    + ["deepfool", "mim", "worst"],
    "racl": ["clean", "fgsm"]
    + [f"fgsm@eps=0.0{n}" for n in range(1, 6)]
    + ["mim", "pgd20"]
    + [f"pgd20@eps=0.0{n}" for n in range(1, 6)]
    + ["pgd100", "cw_l2_weak", "autoattack", "worst"],
    "nadar": ["clean", "fgsm", "pgd20", "pgd100", "mim", "apgd_ce", "apgd_t", "fab_t", "square", "worst"],
    "dsnet": ["clean", "fgsm", "pgd20", "cw30", "autoattack", "worst"],
    "defenses": ["clean", "pgd20", "autoattack"],
    "full": ["clean", "fgsm", "pgd20", "mim", "cw_linf", "gama", "deepfool", "autoattack", "worst"],
}


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_binds_and_has_its_columns(suite: str) -> None:
    (planned,) = planned_jobs([f"evaluation={suite}", "dataset=digits"], check=True)
    columns = plan(planned.config)
    assert list(columns) == SUITES[suite]
    assert len({c.settings for c in columns.values()}) == len(columns)


def test_the_radii_of_a_grid_reach_the_attacks() -> None:
    (planned,) = planned_jobs(["evaluation=racl", "dataset=digits"], check=True)
    column = plan(planned.config)["pgd20@eps=0.05"]
    assert column.node["threat"]["eps"] == 0.05
    assert column.node["step_size"] == pytest.approx(2 / 255 * 0.05 / 0.2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+evaluation.grids.pgdx={eps: [0.1]}", "grids.pgdx"),
        ("+evaluation.grids.fgsm={epz: [0.1]}", "grids.fgsm.epz"),
        ("+evaluation.grids.fgsm={eps: 0.1}", "grids.fgsm.eps"),
        ("+evaluation.shares.fgsm=2", "shares.fgsm"),
        ("+evaluation.shares.pgdx=0.5", "shares.pgdx"),
        ("+attack@evaluation.attacks.worst=fgsm", "attacks.worst"),
    ],
)
def test_a_suite_that_makes_no_sense_is_refused(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        planned_jobs([override, "dataset=digits"], check=True)
