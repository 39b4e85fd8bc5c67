"""The grid's multirun is the grid that the scripts are given."""

from pathlib import Path

import pytest

from advarch.bench import grid as module
from advarch.bench.sizes import Grid
from advarch.cli.compose import planned_jobs
from advarch.datasets.embedded import digits

GRID = Grid(widths=[1, 2], rates=[0.05, 0.1], epochs=3, batch=64, images=36)


def test_both_are_given_the_same_networks_data_and_attacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed: list[str] = []
    monkeypatch.setattr(module, "_run", lambda arguments: typed.extend(arguments[2:]) or "")
    assert module._multirun(GRID, tmp_path) == []
    jobs = [job.config for job in planned_jobs(typed)]
    assert [(job["backbone"]["widths"], job["optimizer"]["lr"]) for job in jobs] == [
        ([width] * 3, rate) for width in GRID.widths for rate in GRID.rates
    ]
    for job in jobs:
        assert (job["attack"]["steps"], job["attack"]["step_size"], job["threat"]["eps"]) == (
            10,
            0.05,
            module.EPS,
        )
        assert (job["dataset"]["batch_size"], job["trainer"]["max_epochs"]) == (64, 3)
        assert job["optimizer"]["weight_decay"] == 2e-4 and job["evaluation"]["checkpoints"] == ["last"]
        assert job["evaluation"]["attacks"]["pgd20"]["step_size"] == pytest.approx(module.EPS / 10)
        assert round(job["evaluation"]["shares"]["autoattack"] * len(digits().test.y)) == 36
