"""What a stage computed on, in words."""

import os
import platform
from pathlib import Path

import torch


def device_name(device: str) -> str:
    """The GPU, or the CPU with how many of its cores compute."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{model}, {torch.get_num_threads()} of {os.cpu_count()} cores"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
