"""`report +sweep=X` is of one scale, and says how many runs of others lie in the same folder."""

from pathlib import Path

from advarch.cli.compose import PlannedJob
from advarch.cli.report import beside
from advarch.reports.table import build
from advarch.runs.config import dump
from advarch.runs.folder import RunFolder
from tests.reports import made_up_runs as made


def lay(folder: Path, name: str, scale: str) -> PlannedJob:
    job = PlannedJob({"seed": 0, "choices": {"scale": scale}}, RunFolder(folder / name))
    job.folder.path.mkdir()
    job.folder.config_path.write_text(dump(job.config))
    return job


def test_runs_of_other_scales_are_counted(tmp_path: Path) -> None:
    jobs = [lay(tmp_path, name, "smoke") for name in ("a", "b")]
    assert beside(tmp_path, jobs) == ""
    for name, scale in (("c", "paper"), ("d", "small"), ("e", "paper"), ("f", "smoke")):
        lay(tmp_path, name, scale)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.yaml").write_text("seed: [0")
    said = beside(tmp_path, jobs)
    assert said.startswith("Runs of scale=smoke alone")
    assert said.endswith(": 2 of scale=paper, 1 of scale=small.")
    assert build(made.SWEEP, [made.run(made.DEPTHS[0])], beside=said).closing[0] == said
