"""Share of the measured peak, and what the processor says of itself."""

from pathlib import Path

import pytest
import torch

from advarch.bench import machine
from advarch.bench.sizes import sizes_for
from advarch.bench.training import passes


def test_the_share_of_the_peak_is_useful_work_over_what_a_product_reaches() -> None:
    # WRN-34-10 at 1,200 images/s: 23 passes of 6.66 G multiply-adds are 183.8 T, 46 % of 400 T.
    assert machine.share_of_peak(1200, passes("pgd_at", 10), 6.66e9, 400e12) == pytest.approx(45.95, abs=0.01)


@pytest.mark.parametrize(
    "method, steps, count",
    [("pgd_at", 10, 23), ("pgd_at", 7, 17), ("trades", 10, 27), ("free", 10, 3), ("fast", 10, 5)],
)
def test_passes_of_a_lean_step(method, steps: int, count: float) -> None:
    assert passes(method, steps) == count


def test_the_peak_counts_n_cubed_multiply_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "seconds", lambda action: action() or 0.5)
    assert machine.peak.__wrapped__(torch.device("cpu"), "fp32", 8) == machine.PRODUCTS * 8**3 / 0.5


def test_flags_are_the_processor_s_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "model name\t: x\nflags\t\t: fpu avx512_bf16 avx2 sse\n"
    monkeypatch.setattr(Path, "exists", lambda self: True)
    monkeypatch.setattr(Path, "read_text", lambda self: told)
    assert machine.flags() == ("avx2", "avx512_bf16")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert machine.flags() == ()


def test_a_cpu_trains_in_bf16_where_it_has_the_instructions() -> None:
    cpu = torch.device("cpu")
    assert sizes_for(cpu, quick=False, flags=["avx2"]).precision == "fp32"
    assert sizes_for(cpu, quick=False, flags=["avx2", "avx512_bf16"]).precision == "bf16"
    assert sizes_for(torch.device("cuda"), quick=False).precision == "bf16"
    tiny = sizes_for(cpu, quick=True)
    assert {training.network for training in tiny.training} == {"WRN-10-1"} and not tiny.compiled
