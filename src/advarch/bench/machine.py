"""The machine that is measured: its name, versions, what its CPU can do, and its fastest matrix product."""

import datetime
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from advarch.bench.peers import INSTALL
from advarch.bench.timing import seconds
from advarch.stages.device import device_name

BF16 = "avx512_bf16"
FLAGS = ("avx2", "avx512f", BF16, "amx_bf16")
"""Instructions of x86 CPUs that decide how fast fp32 and bf16 are."""

Precision = Literal["fp32", "bf16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

PRODUCTS, REPEATS = 3, 5
"""Matrix products, or convolutions, in a row, and how often that is timed."""

CONVOLUTION = (16, 128, 16)
"""Images, channels and pixels on a side of the 3x3 convolution that says in which precision ours trains on a CPU."""

CLEARLY = 1.1
"""How much faster bf16 has to be."""


def flags() -> tuple[str, ...]:
    """Which of `FLAGS` this CPU has; none where /proc/cpuinfo does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    known = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return tuple(flag for flag in FLAGS if flag in known)


def describe(device: torch.device) -> dict[str, str]:
    """Where and with what it is measured."""
    found = {
        "date": datetime.date.today().isoformat(),
        "device": device_name(str(device)),
        "CPU instructions": " ".join(flags()) or "unknown",
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
    return found | {name: _version(name) for name in ("advarch", "torch", *INSTALL)}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@lru_cache
def peak(device: torch.device, precision: str, side: int) -> float:
    """Multiply-adds per second of the product of two square matrices, the median of a few: what counts as 100 %."""
    a, b = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))

    def products() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, b)

    products()
    return PRODUCTS * side**3 / statistics.median(seconds(products) for _ in range(REPEATS))


@lru_cache
def convolution_rate(precision: str) -> float:
    """Multiply-adds per second of a convolution and its images' gradient on the CPU, the median of a few."""
    images, channels, side = CONVOLUTION
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).requires_grad_(False)
    layer = layer.to(DTYPES[precision]).to(memory_format=torch.channels_last)
    x = torch.randn(images, channels, side, side, dtype=DTYPES[precision])
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    slope = torch.randn_like(x)

    def passes() -> None:
        for _ in range(PRODUCTS):
            torch.autograd.grad(layer(x), x, slope)

    passes()
    done = PRODUCTS * 2 * images * side**2 * layer.weight.numel()
    return done / statistics.median(seconds(passes) for _ in range(REPEATS))


def cpu_precision() -> Precision:
    """bf16 where this CPU convolves clearly faster in it: not every one with the instructions does."""
    if "bf16" not in cpu_precisions():
        return "fp32"
    return "bf16" if convolution_rate("bf16") > CLEARLY * convolution_rate("fp32") else "fp32"


def cpu_precisions() -> Sequence[Precision]:
    """What this CPU has instructions for."""
    return ["fp32", "bf16"] if BF16 in flags() else ["fp32"]


def share_of_peak(images_per_second: float, passes: float, macs: float, peak: float) -> float:
    """MFU in percent: useful multiply-adds per second over the measured peak.

    images/s * passes * MACs of a forward pass / peak; passes counts a backward pass to the input as one forward pass and one to
    weights and input as two, so PGD-K adversarial training has 2K + 3.
    """
    return 100 * images_per_second * passes * macs / peak
