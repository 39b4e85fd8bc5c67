"""What judged candidates have in common: robust ones told from the others by alpha (RobNet, section 3.3), and correlations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from advarch.errors import InputError
from advarch.genotype.candidates import Candidate
from advarch.genotype.cell import INPUTS, Genotype
from advarch.genotype.measures import alpha
from advarch.genotype.operations import OPERATIONS
from advarch.reports.correlation import kendall, pearson, spearman

SHARE = 0.3
"""Of the candidates that count as robust, and as non-robust: 300 of 1,000 each in the paper."""

FEWEST = 10
"""Candidates that are worth a classifier."""

STATISTICS = (
    "density",
    "convolutions",
    "direct_convolutions",
    "skip_convolutions",
    "direct_share",
    "parameters",
)
"""What is held against robust accuracy: Figs. 5 and 6."""


@dataclass(frozen=True)
class Separation:
    """The most and the least robust candidates, as alpha sees them (Fig. 4).

    robust: which of the two each one is.
    places: of each, in the plane of t-SNE.
    operations: a name for every element of alpha.
    weights: of the linear classifier, for every element.
    accuracy: of the classifier on the candidates it was fitted to; the paper's is 0.987.
    """

    robust: list[bool]
    places: list[tuple[float, float]]
    operations: list[str]
    weights: list[float]
    accuracy: float


class Correlation(NamedTuple):
    """Of a statistic with robust accuracy."""

    statistic: str
    pearson: float
    spearman: float
    kendall: float


def separate(candidates: Sequence[Candidate], *, share: float = SHARE, seed: int = 0) -> Separation:
    """A linear classifier of the most and the least robust `share` of the candidates, and their alpha by t-SNE.

    The classifier is scikit-learn's SGDClassifier as it stands, a linear support vector machine: the paper's footnote.

    Raises:
        InputError: too few candidates, or of different spaces.
    """
    if len(candidates) < FEWEST:
        raise InputError(f"candidates: expected at least {FEWEST} for a classifier, came {len(candidates)}")
    ranked = sorted(candidates, key=lambda found: -found.robust)
    count = max(1, round(share * len(ranked)))
    chosen = [*ranked[:count], *ranked[-count:]]
    operations = [op for op in OPERATIONS if any(op in _used(found.genotype) for found in candidates)]
    rows = [alpha(found.genotype, operations) for found in chosen]
    if len({len(row) for row in rows}) > 1:
        raise InputError(
            "candidates: expected cells of as many nodes each, came others; read one search's table"
        )
    import numpy as np
    from sklearn.linear_model import SGDClassifier
    from sklearn.manifold import TSNE

    x, y = np.asarray(rows, dtype=float), np.repeat([1, -1], count)
    classifier = SGDClassifier(random_state=seed).fit(x, y)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(x)
    return Separation(
        robust=[bool(label > 0) for label in y],
        places=[(float(across), float(up)) for across, up in places],
        operations=_names(chosen[0].genotype, operations),
        weights=[float(weight) for weight in classifier.coef_[0]],
        accuracy=float(classifier.score(x, y)),
    )


def statistic(found: Candidate, name: str) -> float:
    """One of `STATISTICS`; direct_share is that of the convolutions which lie on direct edges (Fig. 6b), 0 without any."""
    if name == "skip_convolutions":
        return found.convolutions - found.direct_convolutions
    if name == "direct_share":
        return found.direct_convolutions / found.convolutions if found.convolutions else 0.0
    return float(getattr(found, name))


def correlations(candidates: Sequence[Candidate]) -> list[Correlation]:
    """Every statistic against robust accuracy."""
    robust = [found.robust for found in candidates]
    columns = {name: [statistic(found, name) for found in candidates] for name in STATISTICS}
    return [
        Correlation(name, pearson(x, robust), spearman(x, robust), kendall(x, robust))
        for name, x in columns.items()
    ]


def _used(genotype: Genotype) -> set[str]:
    return {edge.op for cell in genotype.cells for _, edge in cell.edges}


def _names(genotype: Genotype, operations: Sequence[str]) -> list[str]:
    """`sep 3×3 0-2`, with several cells `3: sep 3×3 0-2`."""
    several = len(genotype.cells) > 1
    return [
        f"{f'{place}: ' if several else ''}{OPERATIONS[op].label} {source}-{target}"
        for place, cell in enumerate(genotype.cells)
        for target in range(INPUTS, INPUTS + len(cell.nodes))
        for source in range(target)
        for op in operations
    ]
