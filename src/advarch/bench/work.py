"""Cost against work: where the time of a training step stops being proportional to its multiply-adds, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from advarch.backbones.wide_resnet import WideResNet
from advarch.bench.bench import Bench, Case
from advarch.bench.row import Row
from advarch.bench.sizes import Work
from advarch.bench.steps import run_step
from advarch.bench.timing import alternate
from advarch.bench.training import SHAPE, images, passes
from advarch.metrics.cost import activations, macs

NAME = "work: "
NEAR = 1.5
"""Times the least time per multiply-add that still counts as proportional."""

MACS, SECONDS, BYTES = "G multiply-adds", "s", "bytes kept per multiply-add"


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
    """A row for each of the four that are varied."""
    work = bench.sizes.work
    varied: dict[str, Sequence[int]] = {
        "batch": work.batches,
        "width": work.widths,
        "depth": work.depths,
        "steps": work.steps,
    }
    for rank, (what, values) in enumerate(varied.items()):
        yield f"{NAME}{what}", partial(_row, bench, work, what, rank, values)


def _row(bench: Bench, work: Work, what: str, rank: int, values: Sequence[int]) -> Row:
    actions, known = {}, {}
    for value in values:
        batch, width, depth, steps = (
            value if place == rank else base for place, base in enumerate(work.base)
        )
        torch.manual_seed(0)
        network = WideResNet(classes=10, in_channels=3, depths=[depth] * 3, widths=[width] * 3)
        network.to(bench.device)
        cost = macs(network, SHAPE)
        x, y = images(batch, bench.device)
        actions[str(value)] = run_step(network, "pgd_at", x, y, steps=steps, precision=bench.sizes.precision)
        known[str(value)] = (batch * passes("pgd_at", steps) * cost, activations(network, SHAPE) / cost)
    taken = alternate(actions, bench.sizes.rounds)
    points = [Point(float(name), known[name][0], taken[name], known[name][1]) for name in actions]
    figures: dict[str, float] = {}
    for point in points:
        head = f"{what} {point.value:g}"
        figures |= {f"{head}, {MACS}": point.macs / 1e9, f"{head}, {SECONDS}": point.seconds}
        figures |= {f"{head}, {BYTES}": point.bytes}
    names = ("batch", "width", "blocks a stage", "steps")
    rest = ", ".join(
        f"{name} {base}" for name, base in zip(names, work.base, strict=True) if names.index(name) != rank
    )
    return Row(f"{NAME}{what}", figures, notes=(sentence(what, points), f"PGD-AT on a WRN, {rest}"))


def points(row: Row) -> list[Point]:
    """The points of a row, as it was written."""
    what = row.name.removeprefix(NAME)
    values = [name.split(",")[0].removeprefix(what) for name in row.figures if name.endswith(f", {MACS}")]
    found = []
    for value in values:
        head = f"{what}{value}"
        each = [row.figures[f"{head}, {unit}"] for unit in (MACS, SECONDS, BYTES)]
        found.append(Point(float(value), 1e9 * each[0], each[1], each[2]))
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


def by_what(rows: Sequence[Row]) -> Mapping[str, list[Point]]:
    """What was varied -> its points, among the rows of a bench."""
    return {
        row.name.removeprefix(NAME): points(row) for row in rows if row.name.startswith(NAME) and row.figures
    }
