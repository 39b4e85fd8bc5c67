"""What operations and networks of cells cost, counted from their description alone."""

import math
from typing import NamedTuple

from advarch.genotype.cell import INPUTS, Cell, Genotype
from advarch.genotype.operations import OPERATIONS


class Cost(NamedTuple):
    """Learnable numbers, and multiply-adds of one image in convolutions."""

    parameters: int
    macs: int


def operation_cost(op: str, channels: int, side: int, *, stride: int = 1, affine: bool = True) -> Cost:
    """An operation on a square map of `side` pixels. Normalisation has parameters where it is affine, and no multiply-adds."""
    family, k, _ = OPERATIONS[op]
    small, norm = math.ceil(side / stride), 2 * channels * affine
    if family == "separable":
        weights = k * k * channels + channels * channels
        return Cost(2 * (weights + norm), 2 * weights * small**2)
    if family == "dilated":
        weights = k * k * channels + channels * channels
        return Cost(weights + norm, weights * small**2)
    if family == "factorised":
        weights = k * channels * channels
        return Cost(2 * weights + norm, weights * small * (side + small))
    if family == "skip" and stride == 2:
        return Cost(channels * channels + norm, channels * channels * small**2)
    return Cost(0, 0)


def cell_cost(cell: Cell, channels: int, side: int, *, reduction: bool = False, affine: bool = True) -> Cost:
    """The edges of a cell whose inputs are maps of `side` pixels, already of its width."""
    small = math.ceil(side / 2) if reduction else side
    edges = [
        operation_cost(edge.op, channels, side, stride=2, affine=affine)
        if reduction and edge.source < INPUTS
        else operation_cost(edge.op, channels, small, affine=affine)
        for _, edge in cell.edges
    ]
    return Cost(sum(edge.parameters for edge in edges), sum(edge.macs for edge in edges))


def network_parameters(
    genotype: Genotype, *, cells: int, channels: int, classes: int, in_channels: int, affine: bool = True
) -> int:
    """Learnable numbers of `backbones.cell_net.CellNet` with the CIFAR stem and no auxiliary head.

    Args:
        genotype: its cells.
        cells: how many stand in a row; those at a third and two thirds of the way double the width.
        channels: of a node in the first stage.
        classes: number of logits.
        in_channels: channels of the images.
        affine: whether normalisation inside the cells has a scale and a shift.
    """
    older = newer = 3 * channels
    count = 9 * in_channels * newer + 2 * newer
    for place in range(cells):
        reduction = place in (cells // 3, 2 * cells // 3)
        channels *= 1 + reduction
        cell = genotype.cell(place, reduction=reduction)
        # Both inputs are brought to the width of the cell by one 1x1 convolution's worth of weights each.
        count += (older + newer) * channels + 4 * channels * affine
        count += cell_cost(cell, channels, 1, reduction=reduction, affine=affine).parameters
        older, newer = newer, channels * len(cell.concat)
    return count + newer * classes + classes
