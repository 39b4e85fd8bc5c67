"""What a training step holds at most."""

import subprocess
import sys

import pytest

from advarch.bench import memory

PROGRAM = """
import torch
from advarch.bench import memory
from advarch.bench.sizes import Training

megabytes = 2**18  # float32 numbers

def step():
    for _ in range(3):
        torch.ones(64 * megabytes)
    return torch.ones(32 * megabytes).sum()

memory._step = lambda *_: step
print(memory.peak_bytes("advarch", Training("pgd_at", "WRN-10-1", 1), "cpu", "fp32") / memory.MIB)
"""


@pytest.mark.skipif(not memory._status(), reason="no /proc/self/status")
def test_the_peak_is_what_the_step_holds_at_once() -> None:
    # A process of its own, as in the bench: this one may keep what it has freed.
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    # 64 at a time; a number is freed before the next one is made, so a sum of them would be 192 and more.
    assert float(said.stdout) == pytest.approx(64, abs=16)
