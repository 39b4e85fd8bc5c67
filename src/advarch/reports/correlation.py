"""How strongly two columns go together. nan where one of them doesn't vary."""

import math
from collections.abc import Sequence

Column = Sequence[float]


def pearson(x: Column, y: Column) -> float:
    """sum (x - mean x)(y - mean y), over the root of the product of both sums of squares."""
    import numpy as np

    a, b = (np.asarray(column, dtype=float) - np.mean(column) for column in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def spearman(x: Column, y: Column) -> float:
    """Pearson's of the ranks, equal values sharing the mean of theirs."""
    return pearson(_ranks(x), _ranks(y))


def kendall(x: Column, y: Column) -> float:
    """tau-b: pairs in the same order less those in opposite order, over the root of the pairs that differ in x, times in y."""
    import numpy as np

    a, b = (np.sign(np.subtract.outer(column, column)) for column in (x, y))
    scale = math.sqrt(float(np.abs(a).sum()) * float(np.abs(b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else math.nan


def _ranks(x: Column) -> list[float]:
    import numpy as np

    values = np.asarray(x, dtype=float)
    below = np.less.outer(values, values).sum(0)
    equal = np.equal.outer(values, values).sum(0)
    return list(below + (equal + 1) / 2)
