"""The rows of a bench on the simulated device: ours and the naive loop; peers look at what kind of tensor comes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from advarch.bench import measure, peers, timing, training
from advarch.bench.bench import Bench
from advarch.bench.sizes import sizes_for
from tests.device import simulated
from tests.device.settings import ROWS


def measured(word: str) -> list[dict[str, Any]]:
    """The rows of that word, with the sizes of quick=true."""
    peers.missing = training.missing = lambda name: f"{name} is left out"
    timing.MORE = 1
    bench = Bench(
        simulated.DEVICE, sizes_for(simulated.DEVICE, quick=True), lambda line: None, lambda overrides: None
    )
    found = []
    for _, case in measure.ROWS[word](bench):
        simulated.WAITS.clear()
        row = case()
        assert simulated.WAITS.total(), "it never was on the device"
        found.append(asdict(row))
    return found


BENCH: Mapping[str, Callable[[], Any]] = {word: partial(measured, word) for word in ROWS}
