"""Where a cell stands among all of its space, and how well a ranking agrees with the truth."""

import math
from collections.abc import Iterable, Mapping, Sequence

from advarch.genotype.candidates import Candidate
from advarch.reports.correlation import kendall

Truth = Mapping[str, float]
"""Robust accuracy of every cell of a space, by the digest of its genotype."""


def ranks(truth: Truth) -> dict[str, int]:
    """1 for the most robust cell; of equal ones each has the best rank."""
    return {digest: 1 + sum(other > value for other in truth.values()) for digest, value in truth.items()}


def best_of(truth: Truth, count: int) -> float:
    """Expected rank of the best of `count` different cells drawn at random; of one, of a random choice.

    The best has rank r or a later one when none of the cells before it is drawn: sum over r >= 1 of
    C(n - #{rank < r}, count) / C(n, count).
    """
    found = list(ranks(truth).values())
    n = len(found)
    return sum(
        math.comb(n - sum(rank < r for rank in found), count) / math.comb(n, count)
        for r in range(1, max(found) + 1)
    )


def agreement(candidates: Sequence[Candidate], truth: Truth) -> float:
    """Kendall's tau-b between the robust accuracies that a search gave to cells and the true ones."""
    return kendall([one.robust for one in candidates], [truth[one.genotype.digest] for one in candidates])


def covers(candidates: Iterable[Candidate], truth: Truth) -> bool:
    """Whether a search ranked the whole space."""
    return {one.genotype.digest for one in candidates} == set(truth)
