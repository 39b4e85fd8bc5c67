"""The report and the workspace that would be sent to W&B: a golden spec; no login and no package are one line each."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from advarch.cli import wandb_report as verb
from advarch.cli.compose import PlannedJob
from advarch.cli.wandb_report import wandb_report
from advarch.errors import InputError
from advarch.records import RunRecord
from tests.reports import made_up_runs as made

GOLDEN = Path(__file__).with_name("wandb_report.json")
SWEEP = made.SWEEP | {
    "columns": ["clean", "pgd20"],
    "checkpoints": ["best"],
    "published": [{"row": "1-1-1", "clean": 95.3, "pgd20": 60.1, "source": "Somebody et al., Table 1"}],
}


class Folder:
    """A run folder that holds a made-up run."""

    def __init__(self, run: RunRecord) -> None:
        self.run = run

    def record(self, config: Any) -> RunRecord:
        return self.run


@pytest.fixture(autouse=True)
def composed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A sweep of two runs in place of what Hydra composes; the overrides that it was asked for."""
    asked: list[list[str]] = []
    logger = {"kind": "wandb", "project": "advarch", "entity": "team"}

    def planned_jobs(arguments: list[str]) -> list[PlannedJob]:
        asked.append(arguments)
        own = {"kind": "csv"} if "logger=csv" in arguments else logger
        runs = [made.run((1, 1, 1)), made.run((2, 2, 2))]
        return [PlannedJob({"logger": own, "sweep": SWEEP}, Folder(run)) for run in runs]  # type: ignore[arg-type]

    monkeypatch.setattr(verb, "planned_jobs", planned_jobs)
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    return asked


def spec(capsys: Any) -> str:
    assert wandb_report(["+sweep=demo", "wandb=true", "dry_run=true"]) == 0
    # Panels and run sets are given random names.
    return re.sub(r'("(?:__id__|id)": )"[0-9a-z]+"', r'\1"ID"', capsys.readouterr().out)


@pytest.mark.slow
def test_what_would_be_sent_is_this(capsys: Any, composed: list[list[str]]) -> None:
    """After a wanted change: ADVARCH_GOLDEN=1 pytest tests/cli/test_wandb_report.py, and read the difference."""
    found = spec(capsys)
    if os.environ.get("ADVARCH_GOLDEN"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()
    assert composed == [["logger=wandb", "+sweep=demo"]]
    report, workspace = (json.loads(found)[name]["spec"] for name in ("report", "workspace"))
    (table,) = [block["content"] for block in report["blocks"] if block["type"] == "markdown-block"]
    assert re.search(r"\| 1-1-1 +\| best +\| +95.3.* \| +60.1", table)
    grids = [block["metadata"] for block in report["blocks"] if block["type"] == "panel-grid"]
    runs = [runs for grid in grids for runs in grid["runSets"]] + workspace["section"]["runSets"]
    own = {"key": {"section": "run", "name": "group"}, "op": "=", "value": "demo", "disabled": False}
    assert len(runs) == 6 and all(each["filters"]["filters"] == [own] for each in runs)
    names = {"Clean", "Robust", "Cost", "Training", "Runs"}
    assert {section["name"] for section in workspace["section"]["panelBankConfig"]["sections"]} == names
    for key in ("best/clean", "best/pgd20", "cost/parameters", "cost/macs", "cost/seconds", "val_robust"):
        assert json.dumps(grids).count(key) and json.dumps(workspace).count(key)


def test_without_a_login_it_is_said_before_anything_is_sent() -> None:
    with pytest.raises(InputError, match="expected a login to W&B, came none; type wandb login"):
        wandb_report(["+sweep=demo", "wandb=true"])


def test_without_the_package_it_is_said_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(InputError, match=re.escape("pip install 'advarch[wandb]'")):
        wandb_report(["+sweep=demo", "wandb=true", "dry_run=true"])


@pytest.mark.parametrize(
    ("typed", "said"), [("wandb=yes", "wandb: expected true"), ("dry_run=1", "dry_run: expected true"),
                        ("logger=csv", "logger: expected one of W&B")]
)  # fmt: skip
def test_other_words_are_refused(typed: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        wandb_report(["+sweep=demo", "wandb=true", typed])


def test_an_error_of_w_and_b_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(verb, "has_login", lambda: True)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert wandb_report(["+sweep=demo", "wandb=true"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
