"""What a training step holds at most."""

import pytest
import torch

from advarch.bench import memory
from advarch.bench.row import OURS
from advarch.bench.sizes import Training


@pytest.mark.skipif(not memory._status(), reason="no /proc/self/status")
def test_the_peak_is_what_the_step_holds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    megabytes = 2**18  # float32 numbers

    def step() -> torch.Tensor:
        for _ in range(3):
            torch.ones(64 * megabytes)
        return torch.ones(32 * megabytes).sum()

    monkeypatch.setattr(memory, "_step", lambda *_: step)
    found = memory.peak_bytes(OURS, Training("pgd_at", "WRN-10-1", 1), "cpu", "fp32") / memory.MIB
    # 64 at a time; a number is freed before the next one is made, so a sum of them would be 192 and more.
    assert found == pytest.approx(64, abs=16)
