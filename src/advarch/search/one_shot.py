"""Sub-networks judged with the supernet's weights, and those whose flow an attack moves too far (RobNet, sections 3.1 and 3.5)."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, TypeVar

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from advarch.errors import InputError
from advarch.genotype.cell import Genotype
from advarch.layers.batch_statistics import reestimate_statistics
from advarch.metrics.fsp import CellInput, Resize, fsp
from advarch.search.architecture import Path
from advarch.types import Attack, Batch

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


def flow(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    attack: Attack,
    cell_input: CellInput = "newer",
    resize: Resize = "max",
    images: Annotated[int, Ge(1)] = 1000,
    seed: int = 0,
) -> list[float]:
    """The FSP distance of every cell, from the input on (RobNet Eq. 4; Figs. 7 and 8).

    Args:
        model: a network of cells.
        batches: the images that are attacked.
        attack: of the adversarial images.
        images: how many of `batches`.
        cell_input, resize, seed: see `metrics.fsp.fsp`.
    """
    x, y = _first(batches, images)
    found = fsp(model, x, y, attack=attack, cell_input=cell_input, resize=resize, seed=seed)
    return [float(distance) for distance in found.table["distance"]]


def by_flow(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    genotypes: Sequence[Genotype],
    attack: Attack,
    statistics: Iterable[Batch] | None = None,
    threshold: Annotated[float, Ge(0)] | None = 0.006,
    share: Annotated[float, Gt(0), Interval(le=1)] = 68 / 300,
    deepest: Annotated[int, Ge(1)] = 10,
    cell_input: CellInput = "newer",
    resize: Resize = "max",
    images: Annotated[int, Ge(1)] = 1000,
    seed: int = 0,
) -> list[Genotype]:
    """The candidates through whose last cells an attack moves the flow little, judged without training (section 3.5).

    Args:
        model: a trained supernet, or one behind a normalisation; left as found.
        batches: the images that are attacked.
        genotypes: the candidates.
        attack: of the adversarial images.
        statistics: see `judged`.
        threshold, share: see `flowing`.
        deepest, cell_input, resize, seed: see `metrics.fsp.fsp`.
        images: how many of `batches`.

    Raises:
        InputError: none of them stays.
    """
    x, y = _first(batches, images)

    def distance(net: nn.Module) -> float:
        return fsp(
            net, x, y, attack=attack, cell_input=cell_input, resize=resize, deepest=deepest, seed=seed
        ).numbers["deep"]

    distances = judged(model, genotypes, distance, batches=statistics)
    kept = flowing(distances, threshold=threshold, share=share)
    if not kept:
        raise InputError(
            f"threshold: expected one that some candidates are below, came {threshold}; the smallest distance is "
            f"{min(distances):.3g}. Raise it, or set threshold=null to keep a share"
        )
    return [genotypes[number] for number in kept]


def _first(batches: Iterable[Batch], images: int) -> tuple[Tensor, Tensor]:
    """So many images and their labels, or all if they are fewer."""
    found: list[Batch] = []
    for batch in batches:
        found.append(batch)
        if sum(len(each.y) for each in found) >= images:
            break
    return torch.cat([each.x for each in found])[:images], torch.cat([each.y for each in found])[:images]


def _of_one_process(sums: Tensor) -> Tensor:
    return sums
