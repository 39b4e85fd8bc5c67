"""Cost against work: where the time of a training step stops being proportional to its multiply-adds, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from advarch.backbones.wide_resnet import WideResNet
from advarch.bench.bench import Bench, Case
from advarch.bench.row import Row
from advarch.bench.steps import run_step
from advarch.bench.timing import alternate
from advarch.bench.training import SHAPE, images, passes
from advarch.metrics.cost import activations, macs

NAME = "work: "
NEAR = 1.5
"""Times the least time per multiply-add that still counts as proportional."""

MACS, SECONDS = "multiply-adds, G", "s"
EACH, BYTES = "ps per multiply-add", "bytes kept per multiply-add"


@dataclass(frozen=True)
class Point:
    """A step: what was varied, its multiply-adds, its seconds, and the bytes of activations that each multiply-add leaves."""

    value: float
    macs: float
    seconds: float
    bytes: float

    @property
    def each(self) -> float:
        """Picoseconds per multiply-add."""
        return 1e12 * self.seconds / self.macs


def cases(bench: Bench) -> Iterator[Case]:
    """A row for each value of the four that are varied, which comes first in its name."""
    work = bench.sizes.work
    varied = {"batch": work.batches, "width": work.widths, "depth": work.depths, "steps": work.steps}
    base = dict(zip(varied, work.base, strict=True))
    for what, values in varied.items():
        for value in values:
            settings = {what: value} | {name: each for name, each in base.items() if name != what}
            name = NAME + ", ".join(f"{key} {each}" for key, each in settings.items())
            yield name, partial(_row, bench, name, **settings)


def _row(bench: Bench, name: str, *, batch: int, width: int, depth: int, steps: int) -> Row:
    torch.manual_seed(0)
    network = WideResNet(classes=10, in_channels=3, depths=[depth] * 3, widths=[width] * 3)
    network.to(bench.device)
    cost = macs(network, SHAPE)
    kept = activations(network, SHAPE) / cost
    x, y = images(batch, bench.device)
    step = run_step(network, "pgd_at", x, y, steps=steps, precision=bench.sizes.precision)
    taken = alternate({name: step}, bench.sizes.rounds)[name]
    work = batch * passes("pgd_at", steps) * cost
    return Row(name, {MACS: work / 1e9, SECONDS: taken, EACH: 1e12 * taken / work, BYTES: kept})


def by_what(rows: Sequence[Row]) -> Mapping[str, list[Point]]:
    """What was varied -> its points, among the rows of a bench."""
    found: dict[str, list[Point]] = {}
    for row in rows:
        if row.name.startswith(NAME) and row.figures:
            what, value = row.name.removeprefix(NAME).split(",")[0].split()
            figures = row.figures
            point = Point(float(value), 1e9 * figures[MACS], figures[SECONDS], figures[BYTES])
            found.setdefault(what, []).append(point)
    return found


def proportional_from(points: Sequence[Point]) -> Point | None:
    """The smallest from which on every one, itself included, takes at most `NEAR` times the least time per multiply-add."""
    least = min(point.each for point in points)
    first = None
    for point in sorted(points, key=lambda point: -point.macs):
        if point.each > NEAR * least:
            break
        first = point
    return first


def fixed_seconds(points: Sequence[Point]) -> float:
    """What a step takes beside its multiply-adds: a of the least squares seconds = a + b * macs; 0 where it comes out below."""
    count = len(points)
    x = sum(point.macs for point in points) / count
    y = sum(point.seconds for point in points) / count
    spread = sum((point.macs - x) ** 2 for point in points)
    slope = sum((point.macs - x) * (point.seconds - y) for point in points) / spread
    return max(0.0, y - slope * x)


def sentence(what: str, points: Sequence[Point]) -> str:
    """Where time is proportional to multiply-adds when this is varied, and what the figures say about why."""
    first = proportional_from(points)
    smallest = min(points, key=lambda point: point.macs)
    least = min(point.each for point in points)
    if first is smallest:
        said = f"{what}: time is proportional to multiply-adds within {NEAR} times at every value"
    elif first is None:
        said = f"{what}: time is proportional to multiply-adds nowhere; the largest step takes more for each than a smaller one"
    else:
        said = (
            f"{what}: time is proportional to multiply-adds from {first.value:g} on; "
            f"{smallest.value:g} takes {smallest.each / least:.1f} times as long for each"
        )
    return f"{said}; {_why(what, points, smallest)}"


def _why(what: str, points: Sequence[Point], smallest: Point) -> str:
    if what == "width":
        widest = max(points, key=lambda point: point.macs)
        ratio = smallest.bytes / widest.bytes
        return f"each multiply-add leaves {ratio:.1f} times the bytes at width {smallest.value:g} that it leaves at {widest.value:g}"
    fixed = fixed_seconds(points)
    return f"{1000 * fixed:.1f} ms of a step ({fixed / smallest.seconds:.0%} of the smallest) are there whatever its size"
