"""A job of every kind of sweep at scale=smoke, from its file to its report."""

from pathlib import Path

import pytest

from advarch.reports.table import build
from advarch.reports.text import markdown
from tests.smoke.every_sweep import SMOKE, first, run

KINDS = {"robustwrn/table1": "trained and attacked", "robustwrn/fig4": "and looked into", "nadar/fig3": "searched before"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_job_of_every_kind_runs_at_scale_smoke(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    job = first(name, SMOKE)
    assert job.config["choices"]["dataset"] == "digits"
    for _ in range(2):
        run(job)
    assert {status.attempts for status in job.folder.status().stages.values()} == {1}, (
        "a finished job is not run again"
    )
    record = job.folder.record(job.config)
    table = build(job.config["sweep"], [record])
    assert record.state == "done" and "scale smoke" in markdown(table)
    assert all(cell.value is not None for header, cell in zip(table.headers, table.rows[0].cells, strict=True) if "published" not in header.id)  # fmt: skip
