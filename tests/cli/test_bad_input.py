"""Bad input: exit code 2 and one readable line that names the key, what came and what to do; never a traceback."""

import os
from pathlib import Path

import pytest

from advarch.cli import run
from advarch.cli.compose import planned_jobs
from advarch.cli.main import main
from advarch.errors import InputError

CASES = [
    # unknown keys, with the nearest valid one
    (["backbone.depthz=3"], ["backbone.depthz", "depths"]),
    (["attack.step=3"], ["attack.step", "steps"]),
    (["datset=digits"], ["datset", "dataset"]),
    (["trainer.epochs=3"], ["trainer.epochs", "max_epochs"]),
    (["optimizer.learning_rate=1"], ["optimizer.learning_rate", "expected one of"]),
    (["defense=trades", "defense.betta=1"], ["defense.betta", "beta"]),
    (["+attack.stepz=3"], ["attack.stepz", "steps"]),
    (["+foo=1"], ["foo", "unknown key"]),
    (["+backbone.foo=1"], ["backbone.foo", "unknown key"]),
    (["+backbone.dropuot=1"], ["backbone.dropuot", "dropout"]),
    # unknown choices, with the nearest valid one
    (["dataset=cifr10"], ["dataset", "cifr10", "cifar10"]),
    (["backbone=wide_resnt"], ["backbone", "wide_resnt", "wide_resnet"]),
    (["defense=trade"], ["defense", "trade", "trades"]),
    (["+sweep=dmo"], ["sweep", "dmo", "demo"]),
    # a transfer is asked of another verb
    (["evaluation=transfer"], ["evaluation.sources", "advarch attack evaluation=transfer source="]),
    (["-m", "seed=0,1", "evaluation=transfer"], ["evaluation.sources", "advarch attack"]),
    (["run", "evaluation=transfer", "source=[a,b]"], ["source", "advarch attack", "evaluation.sources"]),
    (["-m", "evaluation=transfer", "source=[a,b]"], ["source", "advarch attack"]),
    (["evaluation=transfer", "source=[a,b]"], ["config.yaml", "came a"]),
    (["evaluation.sources=[nowhere]"], ["config.yaml", "nowhere"]),
    (["evaluation=full", "evaluation.sources=[a]"], ["evaluation.sources", "worst_case"]),
    (["hydra/launcher=sulrm"], ["hydra/launcher", "sulrm"]),
    # units and ranges
    (["threat.eps=8"], ["threat.eps", "8", "8/255", "allow_large_eps"]),
    (["threat.eps=-0.1"], ["threat.eps", "-0.1"]),
    (["threat.norm=3"], ["threat.norm", "3", "inf or 2"]),
    (["threat.eps=eight"], ["threat.eps", "number", "'eight'"]),
    (["backbone.widths=[1,1,-1]"], ["backbone.widths[2]", "greater than 0", "-1"]),
    (["backbone.widths=[1,1,0.01]"], ["backbone.widths", "whole channels", "0.01"]),
    (["backbone.depths=[1,1]"], ["backbone.depths", "at least 3 values", "[1, 1]"]),
    (["backbone.depths=[0,0,0]"], ["backbone.depths", "0-0-0"]),
    (["backbone.depths=[1,1,x]"], ["backbone.depths[2]", "integer", "'x'"]),
    (["backbone.depths=3"], ["backbone.depths", "3"]),
    (["backbone=timm", "backbone.name=resnt50"], ["backbone.name", "'resnt50'", "resnet50"]),
    (["backbone=resnet18", "backbone.activation=relue"], ["backbone.activation", "'relu'", "'relue'"]),
    (["backbone=resnet50", "backbone.depths=[1,1]"], ["backbone.channels", "2 as in depths", "4"]),
    (["attack.steps=-1"], ["attack.steps", "greater than or equal to 0", "-1"]),
    (["attack.steps=2.5"], ["attack.steps", "integer", "2.5"]),
    (["attack.step_size=much"], ["attack.step_size", "number", "'much'"]),
    (["attack.restarts=0"], ["attack.restarts", "0"]),
    (["defense=trades", "defense.beta=-1"], ["defense.beta", "-1"]),
    (["defense.bn_mode=test"], ["defense.bn_mode", "'eval'", "'test'"]),
    (["trainer.max_epochs=0"], ["trainer.max_epochs", "0"]),
    (["trainer.max_epochs=ten"], ["trainer.max_epochs", "integer", "'ten'"]),
    (["trainer.precision=fp8"], ["trainer.precision", "'bf16'", "'fp8'"]),
    (["trainer.devices=-1"], ["trainer.devices", "-1"]),
    (["optimizer.lr=-1"], ["optimizer", "-1"]),
    (["schedule=cyclic", "schedule.peak=2"], ["schedule.peak", "2"]),
    (["schedule.milestones=soon"], ["schedule.milestones", "'soon'"]),
    (["dataset.batch_size=0"], ["dataset.batch_size", "0"]),
    (["dataset.val_fraction=2"], ["dataset.val_fraction", "2"]),
    (["dataset=image_folder", "dataset.root=/nonexistent"], ["a folder /nonexistent", "dataset.root"]),
    (["dataset=image_folder"], ["expected dataset.root", "came none"]),
    (["seed=0,1"], ["seed", "came 0,1", "advarch -m"]),
    (["-m", "dataset=cifar10", "seed=0,1", "dataset.root=nowhere"], ["nowhere", "dataset.download=true"]),
    (["method=nadar", "search.pretrained=nosuch"], ["search.pretrained", "'nosuch'", "train it first"]),
    (["method=nadar", "search.pretrained=no*such"], ["search.pretrained", "'no*such'", "matches 0"]),
    (["defense=kd"], ["defense.teachers.standard=FOLDER", "came none", "train it first"]),
    (
        ["defense=kd", "defense.teachers.standard=nosuch", "defense.teachers.robust=nosuch"],
        ["defense.teachers.standard", "nosuch", "train it first"],
    ),
    (["seed=abc"], ["seed", "integer", "'abc'"]),
    (["stages=[train,evalute]"], ["stages[1]", "'evaluate'", "'evalute'"]),
    (["in_process=maybe"], ["in_process", "bool", "'maybe'"]),
    (["evaluation.checkpoints=[first]"], ["evaluation.checkpoints[0]", "'best'", "'first'"]),
    (["evaluation.batch_size=0"], ["evaluation.batch_size", "0"]),
    (["validation.every=0"], ["validation.every", "0"]),
    (["attack._target_=os.system"], ["attack._target_", "os.system", "--trust"]),
    (["attack._target_=advarch.attacks.pgd.pdg"], ["attack._target_", "pdg"]),
    (["defense=fat", "attack=pgd10"], ["attack", "stops early", "friendly_pgd"]),
    (["defense=iaat", "attack=pgd10"], ["attack", "radius", "instance_pgd"]),
    (["defense=fat", "defense.taus=[0]"], ["defense.taus", "milestones"]),
    (["search=racl"], ["stages", "search=racl", "['train', 'evaluate']", "stages=[search,train,evaluate]"]),
    (["stages=[search]"], ["search", "came none", "search=racl"]),
    (["backbone=searched"], ["backbone.genotype", "without a search", "search=racl"]),
    (["method=racl", "search.method.rhoo=1"], ["search.method.rhoo", "'rho'"]),
    (
        ["method=racl", "search.supernet.channels=6"],
        ["search.supernet", "channels", "partial_channels=4", "6"],
    ),
    (["logger=wandb", "logger.kind=paper"], ["logger.kind", "'paper'"]),
    # grammar
    (["backbone.depths=[1,1"], ["backbone.depths=[1,1", "key=value"]),
    (["dataset"], ["dataset"]),
    (["dataset.size=${nowhere}"], ["dataset.size"]),
    (["optimizer.lr=${nowhere}"], ["optimizer.lr", "nowhere"]),
    (["~backbone.depths"], ["backbone.depths", "missing"]),
    # verbs
    (["repot", "+sweep=demo"], ["repot", "report"]),
    (["report"], ["report", "+sweep=demo"]),
    (["report", "+sweep=dmo"], ["sweep", "dmo", "demo"]),
    (["plan", "+sweep=demo", "sizes=perhaps"], ["sizes", "'perhaps'"]),
    (["plan", "backbone.depthz=1"], ["backbone.depthz", "depths"]),
    (["status", "nowhere"], ["nowhere"]),
    (["status", "watch=perhaps"], ["watch=true", "watch=perhaps"]),
    (["retry"], ["failed or interrupted", "came none"]),
    (["report", "--al"], ["expected a sweep", "--al"]),
    (["doctor", "please"], ["please"]),
    # what a hostile tester typed
    (["optimizer.lr=nan"], ["optimizer.lr", "finite"]),
    (["optimizer.lr=inf"], ["optimizer.lr", "finite"]),
    (["backbone.widths=[inf,1,1]"], ["backbone.widths", "finite"]),
    (["backbone.widths=[1e9,1,1]"], ["backbone"]),
    (["backbone=null"], ["backbone"]),
    (["backbone=3"], ["backbone"]),
    (["~backbone"], ["backbone", "missing"]),
    (["evaluation.attacks=foo"], ["evaluation.attacks", "'foo'"]),
    (["attack.steps=x"], ["attack.steps", "integer", "'x'"]),
    (["attack.steps={a:1}"], ["attack.steps", "integer"]),
    (["stages=[]"], ["stages", "at least 1"]),
    (["stages=[evaluate,train]"], ["stages", "in the order search, train, evaluate, analyse"]),
    (["outputs="], ["outputs"]),
    (["outputs=/dev/null"], ["outputs", "/dev/null"]),
    (["--foo"], ["--foo", "unknown flag"]),
    (["-m", "seed=0,1", "hydra.launcher.workers=0"], ["hydra.launcher.workers", "1 or more"]),
    (["report", "+sweep=nope"], ["sweep", "nope"]),
    # one bad job stops a multirun before it starts
    (["-m", "backbone.depths=[1,1,1],[1,1,-1]"], ["backbone.depths[2]", "-1"]),
    (["-m", "+sweep=demo", "attack.stepz=1"], ["attack.stepz", "steps"]),
    (["-m", "dataset=digits,cifr10"], ["dataset", "cifr10", "cifar10"]),
]


@pytest.mark.parametrize(("arguments", "said"), CASES, ids=lambda value: " ".join(value) if value else "")
def test_bad_input_is_explained_in_one_line(
    arguments: list[str],
    said: list[str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("a job was started"))
    assert main(arguments) == 2
    captured = capfd.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("advarch: error: ")
    for part in said:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"
    assert not list(tmp_path.rglob("config.yaml")), "something was started"


def test_a_folder_of_pictures_that_is_gone_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    (job,) = planned_jobs(
        ["dataset=image_folder", f"dataset.root={tmp_path / 'gone'}", f"outputs={tmp_path}"]
    )
    job.folder.write_config({"seed": 1})
    with pytest.raises(InputError, match=f"expected a folder {tmp_path / 'gone'}, came nothing there"):
        run._start(job)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [job.folder.config_path]
    assert job.folder.config() == {"seed": 1}


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (PermissionError(13, "Permission denied", "outputs/x"), "outputs/x: expected a place to read and write, came Permission denied"),
        (OSError(28, "No space left on device"), "outputs: expected a place to read and write, came No space left on device"),
    ],
)  # fmt: skip
def test_a_place_that_can_t_be_written_is_said_in_a_line(raised, said, monkeypatch, capsys) -> None:
    def report(arguments) -> int:
        raise raised

    monkeypatch.setattr("advarch.cli.report.report", report)
    assert main(["report", "+sweep=demo"]) == 2
    assert capsys.readouterr().err.startswith(f"advarch: error: {said}; make room")


def test_an_error_of_ours_is_no_bad_input(monkeypatch) -> None:
    def report(arguments) -> int:
        raise IsADirectoryError(21, "Is a directory", "outputs")

    monkeypatch.setattr("advarch.cli.report.report", report)
    with pytest.raises(IsADirectoryError):
        main(["report", "+sweep=demo"])
