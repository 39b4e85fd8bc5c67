"""A job of every kind of sweep at scale=smoke, from its file to its report."""

import os
import subprocess
from pathlib import Path

import pytest

from advarch.cli.run import write
from advarch.launch.local import command
from advarch.reports.table import build
from advarch.reports.text import markdown
from tests.smoke.every_sweep import SMOKE, first

KINDS = {"robustwrn/table1": "trained and attacked", "robustwrn/fig4": "and looked into", "nadar/fig3": "searched before"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_job_of_every_kind_runs_at_scale_smoke(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = first(name, SMOKE)
    assert job.config["choices"]["dataset"] == "digits"
    write(job)
    done = subprocess.run(
        command(job.folder.path),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    record = job.folder.record(job.config)
    table = build(job.config["sweep"], [record])
    printed = bool(job.config["sweep"]["published"])
    assert record.state == "done" and ("scale smoke" in markdown(table)) == printed
    assert all(cell.value is not None for header, cell in zip(table.headers, table.rows[0].cells, strict=True) if "published" not in header.id)  # fmt: skip
