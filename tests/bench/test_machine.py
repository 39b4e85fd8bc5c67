"""Share of the measured peak, and what the processor says of itself."""

from pathlib import Path

import pytest
import torch

from advarch.bench import bench, machine, measure
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


@pytest.mark.parametrize(
    ("flags", "rates", "expected"),
    [
        (("avx2",), {"fp32": 1.0, "bf16": 9.0}, "fp32"),
        (("avx2", "avx512_bf16"), {"fp32": 1.0, "bf16": 2.0}, "bf16"),
        (("avx2", "avx512_bf16"), {"fp32": 1.0, "bf16": 1.05}, "fp32"),
        (("avx2", "avx512_bf16"), {"fp32": 2.0, "bf16": 1.0}, "fp32"),
    ],
)
def test_a_cpu_trains_in_bf16_where_it_convolves_clearly_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], rates: dict[str, float], expected: str
) -> None:
    monkeypatch.setattr(machine, "flags", lambda: flags)
    monkeypatch.setattr(machine, "convolution_rate", rates.__getitem__)
    assert machine.cpu_precision() == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_convolution_and_its_gradient_count_as_two(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(machine, "seconds", lambda action: action() or 0.5)
    monkeypatch.setattr(machine, "CONVOLUTION", (2, 3, 4))
    assert (
        machine.convolution_rate.__wrapped__(precision)
        == machine.PRODUCTS * 2 * (2 * 4 * 4 * 9 * 3 * 3) / 0.5
    )


def test_the_matrix_product_is_told_in_both_precisions_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "peak", lambda device, precision, side: {"fp32": 2e9, "bf16": 1e9}[precision]
    )
    monkeypatch.setattr(machine, "convolution_rate", {"fp32": 4e9, "bf16": 3e9}.__getitem__)
    monkeypatch.setattr(bench, "peak", machine.peak)
    cpu = torch.device("cpu")
    made = bench.Bench(cpu, sizes_for(cpu, quick=True), print, lambda words: (Path(), 0.0))
    for flags, told in ((("avx2",), [2]), (("avx2", "avx512_bf16"), [2, 4, 1, 3])):
        monkeypatch.setattr(machine, "flags", lambda found=flags: found)
        ((_, case),) = measure.ROWS["peak"](made)
        assert list(case().figures.values()) == told


def test_the_sizes_have_the_precision_of_the_device() -> None:
    cpu = torch.device("cpu")
    assert sizes_for(cpu, quick=False).precision == "fp32"
    assert sizes_for(cpu, quick=False, precision="bf16").precision == "bf16"
    assert sizes_for(torch.device("cuda"), quick=False).precision == "bf16"
    tiny = sizes_for(cpu, quick=True)
    assert {training.network for training in tiny.training} == {"WRN-10-1"} and not tiny.compiled
