"""One number of a table, and how well it is known: over the images of a test set, or over seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from advarch.records import AttackResult


@dataclass(frozen=True)
class Estimate:
    """The mean over seeds.

    One seed: `low` and `high` are the 95 % Wilson interval over `images` (accuracies only), `std` is None.
    Several: `std` is the sample standard deviation over seeds, and `low` and `high` are None.
    """

    value: float
    seeds: int
    std: float | None = None
    low: float | None = None
    high: float | None = None
    images: int | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """What an error bar spans: the interval, else the mean -+ std, else the value itself."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        spread = self.std or 0.0
        return self.value - spread, self.value + spread


def mean(values: Sequence[float]) -> Estimate:
    """Of one value or more; values that all agree stay exact (an int stays an int)."""
    exact = values[0] if len(set(values)) == 1 else statistics.fmean(values)
    return Estimate(exact, len(values), statistics.stdev(values) if len(values) > 1 else None)


def accuracy(results: Sequence[AttackResult]) -> Estimate:
    """Accuracy in percent over one result a seed."""
    over_seeds = mean([100 * result.accuracy for result in results])
    images = min(result.total for result in results)
    if len(results) > 1:
        return Estimate(over_seeds.value, over_seeds.seeds, over_seeds.std, images=images)
    only = results[0]
    return Estimate(over_seeds.value, 1, low=100 * only.low, high=100 * only.high, images=images)
