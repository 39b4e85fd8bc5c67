"""Sub-networks judged with the supernet's weights, and those whose flow an attack moves too far (RobNet, sections 3.1 and 3.5)."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, TypeVar

import torch
from annotated_types import Ge, Gt, Interval
from torch import nn

from advarch.genotype.cell import Genotype
from advarch.layers.batch_statistics import reestimate_statistics
from advarch.search.architecture import Path
from advarch.types import Batch

Finding = TypeVar("Finding")


def judged(
    model: nn.Module,
    genotypes: Iterable[Genotype],
    measure: Callable[[nn.Module], Finding],
    *,
    batches: Iterable[Batch] | None = None,
) -> list[Finding]:
    """What `measure` says of each sub-network, its weights those of the supernet.

    Args:
        model: a supernet, or one behind a normalisation; left as found.
        genotypes: of its space.
        measure: of a network that runs one path, in the supernet's mode.
        batches: clean images to measure each sub-network's batch normalisation on, walked once for each; None: the running
            statistics are those of the supernet, which every path has moved.
    """
    model = copy.deepcopy(model)
    path = next(module for module in model.modules() if isinstance(module, Path))
    device = next(model.parameters()).device
    found = []
    for genotype in genotypes:
        path.choose(genotype)
        if batches is not None:
            reestimate_statistics(model, batches, device, _of_one_process)
        found.append(measure(model))
    return found


def flowing(
    distances: Sequence[float],
    *,
    threshold: Annotated[float, Ge(0)] | None = 0.006,
    share: Annotated[float, Gt(0), Interval(le=1)] = 68 / 300,
) -> list[int]:
    """Which candidates stay: those whose FSP distance, the mean over the last cells, is at most `threshold` (appendix F).

    Args:
        distances: of each candidate (Eq. 4), not negative.
        threshold: 0.006 kept 68 of 300 of the paper's supernet. What it keeps of another one's is chance; None keeps a share.
        share: of the candidates that None keeps, those of the smallest distances, and at least one.
    """
    if threshold is None:
        count = max(1, math.floor(share * len(distances) + 0.5))
        return sorted(sorted(range(len(distances)), key=distances.__getitem__)[:count])
    return [number for number, distance in enumerate(distances) if distance <= threshold]


def _of_one_process(sums: torch.Tensor) -> torch.Tensor:
    return sums
