"""Networks of cells: DARTS, PC-DARTS, NASNet, AmoebaNet, RACL, AdvRush, RobNet, and any genotype that is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

from advarch.genotype.cell import INPUTS, Cell, check_places
from advarch.genotype.published import resolve
from advarch.genotype.stored import from_plain
from advarch.layers.activations import Activation, make_activation
from advarch.layers.auxiliary import collect, wanted
from advarch.layers.auxiliary_head import AuxiliaryHead
from advarch.layers.cell_operations import FactorizedReduce, operation, pointwise
from advarch.layers.drop_path import DropPath, Probability

Stem = Literal["cifar", "imagenet"]
Block = TypeVar("Block", bound="HasWidth")


class HasWidth(Protocol):
    """A cell that knows how many channels it gives."""

    out_channels: int


@dataclass(frozen=True)
class Style:
    """What all cells of a network have in common."""

    affine: bool
    activation: Activation
    drop_path: float | None


class CellBlock(nn.Module):
    """One cell: both inputs brought to its width, every node the sum of its edges, some nodes concatenated.

    Args:
        cell: the wiring.
        in_channels: of the older and the newer input.
        channels: of a node.
        older_is_larger: whether the cell before this one halved the map.
        reduction: whether this one does, by stride 2 on the edges that read an input.
        style: normalisation, activation, drop-path (never on an identity).
    """

    def __init__(
        self,
        cell: Cell,
        *,
        in_channels: tuple[int, int],
        channels: int,
        older_is_larger: bool,
        reduction: bool,
        style: Style,
    ) -> None:
        super().__init__()
        self.inputs = cell_inputs(in_channels, channels, older_is_larger=older_is_larger, style=style)
        self.sources = tuple(tuple(edge.source for edge in edges) for edges in cell.nodes)
        self.concat = cell.concat
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                _edge(op, channels, 2 if reduction and source < INPUTS else 1, style) for op, source in edges
            )
            for edges in cell.nodes
        )
        self.out_channels = channels * len(cell.concat)

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        states = [self.inputs[0](older), self.inputs[1](newer)]
        for operations, sources in zip(self.nodes, self.sources, strict=True):
            assert isinstance(operations, nn.ModuleList)
            results = [op(states[source]) for op, source in zip(operations, sources, strict=True)]
            states.append(sum(results[1:], results[0]))
        return torch.cat([states[number] for number in self.concat], dim=1)


def cell_inputs(
    in_channels: tuple[int, int], channels: int, *, older_is_larger: bool, style: Style
) -> nn.ModuleList:
    """What brings the older and the newer input of a cell to its width, and the older one to the newer one's map."""
    older, newer = in_channels
    adapt = FactorizedReduce if older_is_larger else pointwise
    return nn.ModuleList(
        [
            adapt(older, channels, style.affine, style.activation),
            pointwise(newer, channels, style.affine, style.activation),
        ]
    )


def _edge(op: str, channels: int, stride: int, style: Style) -> nn.Module:
    made = operation(op, channels, stride, affine=style.affine, act=style.activation)
    if style.drop_path is None or isinstance(made, nn.Identity):
        return made
    return nn.Sequential(made, DropPath(style.drop_path))


class CellNet(nn.Module):
    """A stem, `cells` cells, and a linear head on the average-pooled features.

    The cells at places cells // 3 and 2 cells // 3 reduce: half the map, and the width of the next stage.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        genotype: a published name, a .json file, RobNet's text codes, or the content of a genotype's JSON.
        cells: how many; as many as the genotype has where it has one for each place.
        channels: of the stem and of one node in each of the three stages; one number c is (3c, c, 2c, 4c), with the ImageNet
            stem (c, c, 2c, 4c).
        stem: `cifar` keeps the map, `imagenet` takes an eighth of it.
        affine: whether batch normalisation inside the cells has a scale and a shift; RobNet's has none, the stem's always.
        activation: before every convolution of the cells.
        drop_path: probability, grown to linearly over the epochs, of leaving out an edge for an image; None never does.
        auxiliary: weight of the loss of an auxiliary head after the second reduction (0.4 in DARTS); None has no such head.

    Raises:
        InputError: a genotype that can't be, or that has another number of cells.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        genotype: str | Mapping[str, Any],
        cells: Annotated[int, Ge(3)] = 20,
        channels: Annotated[int, Ge(2)] | Annotated[Sequence[Annotated[int, Ge(2)]], Len(4, 4)] = 36,
        stem: Stem = "cifar",
        affine: bool = True,
        activation: Activation = "relu",
        drop_path: Probability | None = None,
        auxiliary: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__()
        found = resolve(genotype) if isinstance(genotype, str) else from_plain(genotype)
        check_places(found, cells)
        self.genotype = found
        first, *widths = stage_channels(channels, stem)
        self.stems = stems(stem, in_channels, first, activation)
        style = Style(affine, activation, drop_path)

        def block(place: int, *, reduction: bool, **shape: Any) -> CellBlock:
            cell = found.cell(place, reduction=reduction)
            return CellBlock(cell, reduction=reduction, style=style, **shape)

        made = row_of_cells(block, cells, (first, *widths), halved=stem == "imagenet")
        self.cells = nn.ModuleList(made)
        self.auxiliary = auxiliary or 0.0
        self.auxiliary_place = reductions(cells)[1]
        inner = made[self.auxiliary_place].out_channels
        self.auxiliary_head = None if auxiliary is None else AuxiliaryHead(inner, classes, activation)
        self.head = nn.Linear(made[-1].out_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        older = self.stems[0](x)
        newer = self.stems[1](older)
        for place, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer)
            if place == self.auxiliary_place and self.auxiliary_head is not None and wanted(self):
                collect(self.auxiliary_head(newer), self.auxiliary)
        return self.head(F.adaptive_avg_pool2d(newer, 1).flatten(1))


def reductions(cells: int) -> tuple[int, int]:
    """The places of the two cells that halve the map: a third and two thirds of the way."""
    return cells // 3, 2 * cells // 3


def stage_channels(channels: int | Sequence[int], stem: Stem) -> list[int]:
    """Channels of the stem and of a node in each of the three stages."""
    if isinstance(channels, int):
        return [channels * (3 if stem == "cifar" else 1), channels, 2 * channels, 4 * channels]
    return list(channels)


def stems(stem: Stem, in_channels: int, channels: int, act: Activation) -> nn.ModuleList:
    """What makes the first two inputs of the cells, the second from the first."""
    if stem == "cifar":
        only = nn.Sequential(nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
        return nn.ModuleList([only, nn.Identity()])
    first = nn.Sequential(
        nn.Conv2d(in_channels, channels // 2, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels // 2),
        make_activation(act),
        nn.Conv2d(channels // 2, channels, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
    )
    second = nn.Sequential(
        make_activation(act),
        nn.Conv2d(channels, channels, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
    )
    return nn.ModuleList([first, second])


def row_of_cells(
    make: Callable[..., Block], count: int, channels: Sequence[int], *, halved: bool
) -> list[Block]:
    """The cells in a row, each told its place, the channels of its inputs and of its nodes, and which maps halve where.

    Args:
        make: (place, in_channels=, channels=, older_is_larger=, reduction=) -> a cell that knows its `out_channels`.
        count: how many.
        channels: of the stem and of a node in each stage.
        halved: whether the step from the first stem output to the second halved the map.
    """
    older = newer = channels[0]
    stage = 1
    made: list[Block] = []
    for place in range(count):
        reduction = place in reductions(count)
        stage += reduction
        block = make(
            place,
            in_channels=(older, newer),
            channels=channels[stage],
            older_is_larger=halved,
            reduction=reduction,
        )
        older, newer, halved = newer, block.out_channels, reduction
        made.append(block)
    return made
