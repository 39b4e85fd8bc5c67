"""Teachers from run folders and files of weights; a run that learns from them; what is said where there is none."""

from pathlib import Path

import pytest
import torch
from torch import nn

from advarch.cli import job
from advarch.cli.compose import planned_jobs
from advarch.errors import InputError
from advarch.runs import weights
from advarch.runs.build import build_model, make
from advarch.runs.folder import RunFolder
from advarch.runs.teachers import taught

SHAPE = (1, 8, 8)
TINY = ["dataset=digits", "dataset.limit=60", "dataset.batch_size=16", "backbone.depths=[1,0,0]"]
TINY += [
    "stages=[train]",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.max_epochs=1",
    "attack.steps=1",
]
TINY += ["validation.attack.steps=1"]


def run_folder(root: Path, *more: str, width: float = 0.25) -> RunFolder:
    arguments = [*TINY, f"backbone.widths=[{width},1,1]", f"outputs={root}", *more]
    (planned,) = planned_jobs(arguments, check=True)
    planned.folder.write_config(planned.config)
    return planned.folder


def teacher_folder(root: Path, *more: str, width: float) -> tuple[Path, nn.Module]:
    """A run folder with weights of its own, as after a training."""
    folder = run_folder(root, *more, width=width)
    network = build_model(folder.config(), classes=10, image_shape=SHAPE)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1
    weights.save(network.state_dict(), folder.path / weights.FILES["best"])
    return folder.path, network.eval()


def student(root: Path, standard: object, robust: object) -> RunFolder:
    named = [f"defense.teachers.standard={standard}", f"defense.teachers.robust={robust}"]
    return run_folder(root, "defense=kd", *named)


def test_teachers_are_the_networks_of_their_folders_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    path, network = teacher_folder(tmp_path / "a", width=0.5)
    file, own = tmp_path / "w.safetensors", teacher_folder(tmp_path / "b", "seed=3", width=0.25)[1]
    weights.save(own.state_dict(), file)
    config = student(tmp_path / "c", path, file).config()
    made = taught(
        make("defense", config["defense"]), config, classes=10, image_shape=SHAPE, device=torch.device("cpu")
    )
    found = made.keywords["teachers"]
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    for name, expected in (("standard", network), ("robust", own)):
        assert torch.equal(found[name](x), expected(x))
        assert not any(module.training for module in found[name].modules())
        assert not any(parameter.requires_grad for parameter in found[name].parameters())


def test_a_run_learns_from_its_teachers(tmp_path: Path) -> None:
    path, _ = teacher_folder(tmp_path / "a", width=0.5)
    folder = student(tmp_path / "b", path, path)
    assert job.main([str(folder.path)]) == 0
    row = (folder.path / "metrics.csv").read_text().splitlines()
    values = dict(zip(row[0].split(","), row[1].split(","), strict=True))
    parts = {"ce_adv": 0.3, "kd_standard": 0.1, "kd_robust": 0.6}
    total = sum(weight * float(values[f"train_loss_{name}"]) for name, weight in parts.items())
    assert abs(total - float(values["train_loss"])) < 1e-4 * total
    assert values["train_loss_kd_standard"] == values["train_loss_kd_robust"] and total > 0
    assert not any(
        "teacher" in name for name in weights.from_checkpoint(folder.path / "checkpoints" / "last.ckpt")
    )


@pytest.mark.parametrize(
    "missing", ["null", "no/such/folder", "empty folder", "untrained run", "other network"]
)
def test_a_teacher_that_is_not_there_is_one_line_and_exit_code_2(
    missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, _ = teacher_folder(tmp_path / "a", width=0.5)
    given = {"null": "null", "no/such/folder": tmp_path / "none"}.get(missing)
    if missing == "empty folder":
        given = tmp_path / "empty"
        given.mkdir()
    elif missing == "untrained run":
        given = run_folder(tmp_path / "u", width=0.5).path
    elif missing == "other network":
        given = good / weights.FILES["best"]
    folder = student(tmp_path / "b", good, given)
    capsys.readouterr()
    assert job.main([str(folder.path)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert (
        len(lines) == 1 and "advarch: error: defense.teachers.robust: " in lines[0] and "expected" in lines[0]
    )


def test_a_pattern_names_the_one_run_that_it_matches(tmp_path: Path) -> None:
    path, network = teacher_folder(tmp_path / "a", width=0.5)
    teacher_folder(tmp_path / "a", "seed=3", width=0.5)
    pattern = f"{path.parent}/*-s0-*"
    config = student(tmp_path / "c", pattern, path).config()
    defense = make("defense", config["defense"])
    here = {"classes": 10, "image_shape": SHAPE, "device": torch.device("cpu")}
    found = taught(defense, config, **here).keywords["teachers"]
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found["standard"](x), network(x))
    for wrong, count in ((f"{path.parent}/*", 2), (f"{path.parent}/*-s7-*", 0)):
        config["defense"]["teachers"]["standard"] = wrong
        with pytest.raises(InputError, match=f"to match one run's folder or file, it matches {count}"):
            taught(defense, config, **here)
