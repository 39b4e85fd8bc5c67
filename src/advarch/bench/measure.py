"""The rows of a bench, one after the other; what was measured is in the files at any time."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from advarch.bench import (
    attacks,
    charts,
    data,
    defenses,
    evaluation,
    grid,
    machine,
    memory,
    page,
    record,
    search,
    startup,
    training,
    work,
)
from advarch.bench.bench import Bench, Case
from advarch.bench.record import Record
from advarch.bench.row import Row
from advarch.bench.work import by_what
from advarch.errors import said
from advarch.files import write_atomic


def _peak_cases(bench: Bench) -> Iterator[Case]:
    """What counts as 100 % of the device, and of a CPU with bf16 how fast a convolution is in both precisions."""
    side, precision = bench.sizes.product, bench.sizes.precision
    name = f"matrix product: {side} x {side}"

    def figures() -> dict[str, float]:
        found = {f"{precision}, G multiply-adds/s": bench.peak() / 1e9}
        both = machine.cpu_precisions() if bench.device.type == "cpu" else ()
        if len(both) > 1:
            for each in both:
                found[f"{each}, G multiply-adds/s"] = machine.peak(bench.device, each, side) / 1e9
                found[f"3x3 convolution, {each}, G multiply-adds/s"] = machine.convolution_rate(each) / 1e9
        return found

    yield name, lambda: Row(name, figures())


ROWS: Mapping[str, Callable[[Bench], Iterator[Case]]] = {
    "startup": startup.cases,
    "peak": _peak_cases,
    "training": training.cases,
    "attacks": attacks.cases,
    "evaluation": evaluation.cases,
    "autoattack": evaluation.autoattack_cases,
    "search": search.cases,
    "data": data.cases,
    "memory": memory.cases,
    "work": work.cases,
    "defenses": defenses.cases,
    "grid": grid.cases,
}
"""Word of `rows=` -> its rows."""

FILES = ("bench.json", "bench.md", "bench.png", "bench_work.png")


def measure(bench: Bench, words: Sequence[str], out: Path, *, quick: bool) -> tuple[Record, bool]:
    """Measure and write; what was measured, and whether every row went well.

    A row that fails says why in its place, and the others go on.

    Raises:
        Interrupted: told to stop; the files hold what was measured.
    """
    began = time.perf_counter()
    described = machine.describe(bench.device) | {"our training in": bench.sizes.precision}
    found = Record(bench.device.type, quick, machine.flags(), described, 0.0, [])
    fine = True
    try:
        for word in words:
            for name, case in ROWS[word](bench):
                bench.say(name)
                try:
                    row = case()
                except Exception as error:
                    row, fine = Row(name, notes=(f"failed: {said(error)}",)), False
                found = replace(found, seconds=time.perf_counter() - began, rows=[*found.rows, row])
                _write(found, out)
                _forget()
    finally:
        if found.rows:
            write_atomic(out / FILES[2], charts.ratios(found))
            if by_what(found.rows):
                write_atomic(out / FILES[3], charts.cost(found))
    return found, fine


def _write(found: Record, out: Path) -> None:
    write_atomic(out / FILES[0], record.dump(found))
    write_atomic(out / FILES[1], page.markdown(found))


def _forget() -> None:
    """What a row leaves on a device is not the next one's."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
