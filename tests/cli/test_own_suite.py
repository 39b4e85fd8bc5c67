"""A suite of one's own: a YAML file found through --config-dir, one attack more, grids typed on the command line."""

from pathlib import Path

import pytest

from advarch.cli.compose import planned_jobs
from advarch.cli.main import main
from advarch.runs.columns import plan

MINE = """\
defaults:
  - _shared
  - /attack@attacks.fgsm: fgsm
  - /attack@attacks.mim20: mim
  - /attack@attacks.pgd50: pgd20
  - _self_
limit: 1000
attacks:
  mim20:
    steps: 20
  pgd50:
    steps: 50
    restarts: 2
grids:
  pgd50:
    steps: [10, 20]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, with a space in its name, that holds conf/evaluation/mine.yaml."""
    folder = tmp_path / "my work" / "conf" / "evaluation"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(MINE)
    monkeypatch.chdir(tmp_path / "my work")
    return folder


@pytest.mark.parametrize("typed", [["--config-dir", "conf"], ["--config-dir=conf"], ["-cd", "conf"]], ids=str)
def test_a_suite_in_a_folder_of_ones_own(own: Path, typed: list[str]) -> None:
    (job,) = planned_jobs([*typed, "evaluation=mine"], check=True)
    assert list(plan(job.config)) == [
        "clean",
        "fgsm",
        "mim20",
        "pgd50",
        "pgd50@steps=10",
        "pgd50@steps=20",
        "worst",
    ]
    assert job.config["evaluation"]["attacks"]["pgd50"]["restarts"] == 2
    assert job.config["evaluation"]["limit"] == 1000


def test_the_documents_example_is_this_suite() -> None:
    text = (Path(__file__).parents[2] / "docs" / "methods" / "evaluation.md").read_text()
    assert "".join(f"    {line}\n" for line in MINE.splitlines()) in text


@pytest.mark.parametrize("verb", [["run", "--cfg", "job"], ["plan", "sizes=false"]], ids=str)
def test_other_verbs_find_it_too(own: Path, verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--config-dir", "conf", "evaluation=mine"]) == 0
    said = capsys.readouterr().out
    assert "mim20:" in said if verb[0] == "run" else "1 job:" in said
    assert main([*verb, "evaluation=mine"]) == 2


def test_flags_may_stand_among_the_overrides(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seed=7", "--cfg", "job", "--config-dir", "conf", "evaluation=mine"]) == 0
    said = capsys.readouterr().out
    assert "seed: 7" in said and "mim20:" in said


def test_one_attack_more_and_a_grid() -> None:
    for grid in ("evaluation.grids={pgd20:{eps:[0.05]}}", "+evaluation.grids.pgd20.eps=[0.05]"):
        (job,) = planned_jobs([grid, "+attack@evaluation.attacks.mim=mim"], check=True)
        assert list(plan(job.config)) == ["clean", "fgsm", "pgd20", "pgd20@eps=0.05", "mim", "worst"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluation.attacks=[fgsm,mim]"], ["[fgsm,mim]", "+attack@evaluation.attacks.mim=mim"]),
        (["evaluation.attacks=[]"], ["[]", "+attack@evaluation.attacks.mim=mim"]),
        (["~evaluation.attacks"], ["at least one attack", "+attack@evaluation.attacks.mim=mim"]),
        (
            ["evaluation.attacks={fgsm:fgsm}"],
            ["evaluation.attacks.fgsm", "+attack@evaluation.attacks.mim=mim"],
        ),
        (["--config-dir", "nowhere"], ["--config-dir", "nowhere"]),
        (["--config-dir"], ["--config-dir", "folder"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["run", "plan", "attack"])
def test_mistakes_are_one_line(
    verb: str, arguments: list[str], said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, *arguments]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    for part in said:
        assert part in line, f"{part!r} is not in {line!r}"
