"""Rows of programs that find which images stand: a ratio only where they leave as many."""

import pytest
import torch

from advarch.bench import standing
from advarch.bench.bench import Bench
from advarch.bench.row import OURS
from advarch.bench.sizes import CPU


def test_a_peer_that_leaves_other_images_standing_gets_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([2.0, 3.0, 4.0])
    monkeypatch.setattr(
        standing, "alternate", lambda runs, rounds: {who: run() or next(took) for who, run in runs.items()}
    )
    half = torch.arange(100) < 50
    runs = {OURS: lambda: half, "equal": lambda: ~half, "weaker": lambda: half | True}
    bench = Bench(torch.device("cpu"), CPU, print, lambda _: pytest.fail("no run is made"))
    row = standing.standing_row(bench, "attack", runs, 100, where=" at 0.1", notes=["absent"])
    assert row.figures == {f"{OURS}, images/s": 50.0, "equal, images/s": 100 / 3, "weaker, images/s": 25.0}
    assert row.ratios == {"equal": 1.5}
    assert row.notes == (
        "weaker: no ratio, for 100 of 100 images stand and 50 with ours",
        "50 of 100 images stand at 0.1",
        "absent",
    )
