"""Multiply-adds per second: measured in finished runs on the same kind of device, else assumed. No torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advarch.launch.cost import passes
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder

ASSUMED_CPU = 20e9
"""Multiply-adds per second of one worker where nothing is measured: two CPU cores on small networks."""

GPUS = {
    "v100": (15.7, 125.0),
    "t4": (8.1, 65.0),
    "rtx3090": (35.6, 71.0),
    "rtx4090": (82.6, 165.2),
    "a6000": (77.4, 154.8),
    "l40s": (183.0, 362.0),
    "a100": (156.0, 312.0),
    "h100": (494.7, 989.4),
    "h200": (494.7, 989.4),
}
"""Dense peak in TFLOP/s by the makers' data sheets: convolutions in 32 bits (TF32 where the card has it), and in 16."""

SHARE = 10 / 156
"""Of that peak, where nothing is measured: 10 T multiply-adds/s of an A100's 156 T in 16 bits. A guess, no measurement."""

SEPARABLE = 1 / 10
"""Of either for supernets and networks of cells, whose separable convolutions wait for memory: the search of PC-DARTS
(Xu et al. 2020), 3.5e14 multiply-adds by our count, takes a tenth of a GPU-day by theirs: 0.04 T a second, on cards of 6 to 8."""

COMMON = "a100"
"""The GPU that is meant where none is named."""


@dataclass(frozen=True)
class Speed:
    """Multiply-adds per second of one worker, on what, and where the number comes from."""

    macs: float
    device: str
    source: str


def speed_of(
    config: Config, measured: dict[str, float], gpu: str | None = None, *, separable: bool = False
) -> Speed:
    """How fast a job will be: as measured on such a device, else as assumed. A named GPU counts whatever the config says.

    Args:
        measured: multiply-adds per second by device (`measured_speeds`).
        gpu: a word of `GPUS`; None: the CPU, or any GPU where the trainer asks for one.
        separable: whether it is made of cells; matters where nothing is measured.
    """
    on_gpu = gpu is not None or config["trainer"].get("accelerator") in ("gpu", "cuda")
    device = (gpu or COMMON) if on_gpu else "cpu"
    found = {name: speed for name, speed in measured.items() if _is(name, device, named=gpu is not None)}
    if found:
        name, speed = max(found.items(), key=lambda item: item[1])
        where = "" if device == "cpu" else f" on {name}"
        return Speed(
            speed, device, f"at {speed / 1e9:,.1f} G multiply-adds/s, measured in finished runs here{where}"
        )
    slower = SEPARABLE if separable else 1.0
    if device == "cpu":
        macs = ASSUMED_CPU * slower
        return Speed(
            macs, device, f"assuming {macs / 1e9:,g} G multiply-adds/s, nothing is measured here yet"
        )
    bits = 0 if config["trainer"]["precision"] == "fp32" else 1
    share = SHARE * slower
    macs = share * GPUS[device][bits] * 1e12 / 2
    return Speed(
        macs,
        device,
        f"assuming {macs / 1e12:.2g} T multiply-adds/s, {share:.1%} of one {device.upper()}'s peak in "
        f"{(32, 16)[bits]} bits; nothing is measured here yet",
    )


def _is(name: str, device: str, *, named: bool) -> bool:
    """Whether a device of that name ("cpu", "NVIDIA H100 80GB HBM3") is the one asked for."""
    if device == "cpu" or name == "cpu":
        return name == device
    return not named or device in name.lower().replace(" ", "").replace("geforce", "")


def measured_speeds(folders: Sequence[RunFolder], parent: Path) -> dict[str, float]:
    """Multiply-adds per second in the finished runs among these folders and beside them, by device."""
    work: dict[str, float] = {}
    seconds: dict[str, float] = {}
    beside = [RunFolder(path.parent) for path in parent.glob("*/train.json")] if parent.is_dir() else []
    for folder in {folder.path: folder for folder in [*folders, *beside]}.values():
        if not (folder.path / "train.json").exists():
            continue
        record = folder.record()
        each = passes(record.config)
        if record.train is None or record.size is None or each is None or not record.train.seconds:
            continue
        device = "cpu" if record.train.device == "cpu" else _gpu(folder.path)
        images = record.train.images_per_second * record.train.seconds
        work[device] = work.get(device, 0.0) + images * each * record.size.macs
        seconds[device] = seconds.get(device, 0.0) + record.train.seconds
    return {device: work[device] / seconds[device] for device in work}


def _gpu(folder: Path) -> str:
    """The GPU of a run's last attempt by its provenance."""
    try:
        attempts = json.loads((folder / "provenance.json").read_text())["attempts"]
        return str(attempts[-1]["gpu"])
    except (OSError, ValueError, LookupError, TypeError):
        return "an unknown GPU"
