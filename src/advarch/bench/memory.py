"""Peak memory of a training step, beside the naive loop and torchattacks."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from advarch.bench.bench import Bench, Case, build
from advarch.bench.peers import NAIVE, absent
from advarch.bench.row import OURS, Row
from advarch.bench.sizes import Training
from advarch.bench.steps import Step, naive_step, run_step, torchattacks_step
from advarch.bench.training import images, label

STEPS = 2
"""The first one makes the optimizer's memory."""

MIB = 2**20


def cases(bench: Bench) -> Iterator[Case]:
    """One step, each competitor in a process of its own."""
    name = f"memory: {label(bench.sizes.step)}"
    yield name, partial(_row, bench, name)


def _row(bench: Bench, name: str) -> Row:
    gone = absent(["torchattacks"])
    names = [who for who in (OURS, NAIVE, "torchattacks") if who not in gone]
    if bench.device.type != "cuda" and not _status():
        return Row(name, notes=("this system does not say what a process holds (no /proc/self/status)",))
    found = {}
    for who in names:
        # A fresh one: what an allocator keeps from earlier rows would hide what a step takes.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            settings = (bench.sizes.step, str(bench.device), bench.sizes.precision)
            found[f"{who}, peak MiB"] = pool.submit(peak_bytes, who, *settings).result() / MIB
    return Row(name, found, notes=tuple(gone.values()))


def peak_bytes(who: str, training: Training, device: str, precision: str) -> int:
    """Bytes held at most during a few training steps, the network and its images beforehand left out on a CPU."""
    place = torch.device(device)
    step = _step(who, training, place, precision)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        _take(step)
        return torch.cuda.max_memory_allocated()
    before = _status()["VmRSS"]
    # ru_maxrss would be the parent's, which a process inherits; VmHWM is this process's own, and importing may have raised it.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    _take(step)
    return _status()["VmHWM"] - before


def _take(step: Step) -> None:
    for _ in range(STEPS):
        step()


def _step(who: str, training: Training, device: torch.device, precision: str) -> Step:
    network = build(training.network, device)
    x, y = images(training.batch, device)
    if who == OURS:
        return run_step(network, training.method, x, y, steps=training.steps, precision=precision)
    made = (naive_step if who == NAIVE else torchattacks_step)(
        network, training.method, x, y, steps=training.steps
    )
    assert made is not None, "PGD-AT has all competitors"
    return made


def _status() -> dict[str, int]:
    """What the kernel says this process holds, in bytes: VmRSS now, VmHWM at most. Empty where it says nothing."""
    path = Path("/proc/self/status")
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if words[-1:] == ["kB"]}
