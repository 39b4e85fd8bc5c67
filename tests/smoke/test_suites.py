"""Every suite from the command line to the report: a small trained network, a handful of images, every column there."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from advarch.cli.main import main
from advarch.reports.write import write
from advarch.runs.config import data_root
from advarch.runs.folder import Evaluation, RunFolder
from tests.stages.test_evaluation_stage import SUITES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("suites")]

NETWORK = [
    "dataset=digits",
    "backbone.depths=[1,0,0]",
    "backbone.widths=[0.5,1,1]",
    "defense=natural",
    "trainer.max_epochs=4",
    "trainer.accelerator=cpu",
    "schedule=cyclic",
    "optimizer.lr=0.2",
    "threat.eps=0.05",
    "in_process=true",
]
FEW = ["evaluation.limit=6", "evaluation.checkpoints=[best]"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trainings of one network."""
    root = tmp_path_factory.mktemp("suites")
    for seed in (0, 1):
        assert main([*NETWORK, "stages=[train]", f"outputs={root}", f"seed={seed}"]) == 0
    return sorted(root.glob("single/*"))


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_runs_from_end_to_end(suite: str, runs: list[Path], tmp_path: Path) -> None:
    folder = RunFolder(runs[0])
    asked = [*NETWORK, *FEW, f"evaluation={suite}", f"outputs={runs[0].parents[1]}", "seed=0"]
    # A share of six images is one, which tells little: half of them.
    shared = suite in ("dsnet", "defenses")
    asked += ["evaluation.shares.autoattack=0.5"] if shared else []
    (folder.path / "evaluation.json").unlink(missing_ok=True)
    assert main(asked) == 0
    found = folder.evaluation()
    assert isinstance(found, Evaluation)
    record = found.checkpoints["best"]
    assert sorted(result.name for result in record.results) == sorted(SUITES[suite])
    clean = record.results[0]
    assert clean.name == "clean" and clean.correct >= 3, "a network that knows nothing tests no attack"
    for result in record.results:
        assert result.total == (3 if shared and result.name == "autoattack" else 6)
        assert 0 <= result.low <= result.accuracy <= result.high <= 1
        assert result.correct <= clean.correct
        assert not {"outside_ball", "batch_dependent"} & set(result.flags)
        asked_of_some = result.attacked > 0 or result.name in ("clean", "worst")
        assert not asked_of_some or result.mean_queries is not None, result.name
    whole = [r for r in record.results if r.total == 6 and "eps=" not in r.name]
    worst = [r for r in whole if r.name == "worst"]
    assert bool(worst) == ("worst" in SUITES[suite])
    assert all(w.correct <= result.correct for w in worst for result in whole)
    assert "fewer_than_1000_images" in record.flags
    reported(folder, suite, tmp_path)


def reported(folder: RunFolder, suite: str, to: Path) -> None:
    """Every number and flag of the suite stands in the table, the CSV and the page."""
    sweep: dict[str, Any] = {
        "name": suite,
        "rows": ["seed"],
        "columns": SUITES[suite],
        "checkpoints": ["best"],
    }
    record = folder.record()
    write(sweep, [record], to)
    (row,) = csv.DictReader((to / "report.csv").open())
    text, page = (to / "report.md").read_text(), (to / "report.html").read_text()
    for result in record.evaluations["best"].results:
        assert math.isclose(float(row[f"{result.name}_percent"]), 100 * result.accuracy)
        assert int(row[f"{result.name}_n"]) == result.total
        for flag in result.flags:
            assert flag in text and flag in page and flag in row["flags"]
    assert "n = 6 images" in text and "n = 6 images" in page


TRANSFERS = {
    "transfer": ["pgd100"],
    "transfer_robnet": ["pgd100", "fgsm"],
    "transfer_racl": ["fgsm", "mim", "pgd20", "pgd10", "rfgsm"],
    "transfer_nadar": ["fgsm", "pgd20", "pgd100", "mim"],
}


def test_every_transfer_suite_is_here() -> None:
    files = {path.stem for path in (data_root("conf") / "evaluation").glob("[a-z]*.yaml")}
    assert files == set(SUITES) | set(TRANSFERS)


@pytest.mark.parametrize("suite", TRANSFERS)
def test_a_transfer_suite_runs_from_end_to_end(suite: str, runs: list[Path], tmp_path: Path) -> None:
    source = f"source=[{','.join(map(str, runs))}]"
    asked = [
        f"evaluation={suite}",
        source,
        "evaluation.limit=6",
        f"outputs={tmp_path}",
        "trainer.accelerator=cpu",
    ]
    assert main(asked) == 0
    (path,) = tmp_path.glob("attack/transfer-*/transfer.csv")
    rows = list(csv.DictReader(path.open()))
    assert list(dict.fromkeys(row["attack"] for row in rows)) == TRANSFERS[suite]
    assert len(rows) == 4 * len(TRANSFERS[suite])
    assert all(float(row["low"]) <= float(row["percent"]) <= float(row["high"]) for row in rows)
