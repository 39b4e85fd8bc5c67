"""Supernets: networks of cells whose every edge holds all candidate operations (DARTS, PC-DARTS, RACL, RobNet)."""

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from advarch.backbones.cell_net import Style, cell_inputs, reductions, row_of_cells, stage_channels, stems
from advarch.errors import InputError
from advarch.genotype.cell import Cell, Genotype
from advarch.genotype.space import Space
from advarch.layers.activations import Activation
from advarch.layers.forgetting import forgetting
from advarch.layers.mixed_op import Chosen, MixedOperation


class MixedCell(nn.Module):
    """One cell of a supernet: every node the weighed sum of its edges from all earlier nodes, all nodes concatenated.

    I(j) = sum_{i<j} inputs(i,j) * mixture(i,j)(I(i)) (PC-DARTS, Eq. 3; RACL, Eq. 5).

    Args:
        space: nodes, edges and candidates.
        in_channels: of the older and the newer input.
        channels: of a node.
        older_is_larger: whether the cell before this one halved the map.
        reduction: whether this one does.
        style: normalisation and activation.
        partial_channels, pool_norm: of the edges; see `MixedOperation`.
    """

    def __init__(
        self,
        space: Space,
        *,
        in_channels: tuple[int, int],
        channels: int,
        older_is_larger: bool,
        reduction: bool,
        style: Style,
        partial_channels: int,
        pool_norm: bool,
    ) -> None:
        super().__init__()
        self.space = space
        self.inputs = cell_inputs(in_channels, channels, older_is_larger=older_is_larger, style=style)
        self.edges = nn.ModuleList(
            MixedOperation(
                space.operations,
                channels,
                2 if reduction and source < 2 else 1,
                partial_channels=partial_channels,
                pool_norm=pool_norm,
                affine=style.affine,
                act=style.activation,
            )
            for source, _ in space.edges
        )
        self.out_channels = channels * space.nodes

    def forward(
        self, older: Tensor, newer: Tensor, operations: Tensor | tuple[Chosen, ...], inputs: Tensor | None
    ) -> Tensor:
        states = [self.inputs[0](older), self.inputs[1](newer)]
        for part in self.space.incoming:
            terms = []
            for edge in range(part.start, part.stop):
                weights = operations[edge]
                if not isinstance(weights, Tensor) and not any(weights):
                    continue
                result = self.edges[edge](states[self.space.edges[edge][0]], weights)
                terms.append(result if inputs is None else inputs[edge] * result)
            states.append(sum(terms[1:], terms[0]))
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """A stem, `cells` cells of mixed operations, and a linear head on the average-pooled features: images -> logits.

    `arch` holds the architecture's parameters and is asked for the edges' weights in every forward pass, so the network can
    be attacked and trained like any other. The weights of a network with the same cells are `inherited`.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        space: cells and candidates.
        arch: space -> a module that gives the `Mixing` when called without arguments.
        cells: how many; as many as the space has places where it has a cell for each.
        channels: of a node in the first stage, a multiple of `partial_channels`.
        partial_channels: K of PC-DARTS' partial channel connections; 1 has none.
        pool_norm: whether poolings are normalised, as in the code of DARTS; not so in the network that is retrained.
        affine: whether batch normalisation inside the cells has a scale and a shift.
        activation: before every convolution of the cells.
        checkpointing: keep only the cells' outputs for the backward pass and compute the rest again.

    Raises:
        InputError: channels or cells that don't fit.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        space: Space,
        arch: Callable[[Space], nn.Module],
        cells: Annotated[int, Ge(3)] = 8,
        channels: Annotated[int, Ge(2)] = 16,
        partial_channels: Annotated[int, Ge(1)] = 1,
        pool_norm: bool = True,
        affine: bool = False,
        activation: Activation = "relu",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if channels % partial_channels:
            raise InputError(
                f"channels: expected a multiple of partial_channels={partial_channels}, came {channels}"
            )
        if space.layout == "each" and space.places != cells:
            raise InputError(f"cells: expected {space.places}, the places of the space, came {cells}")
        self.space, self.partial_channels, self.checkpointing = space, partial_channels, checkpointing
        self.arch = arch(space)
        widths = stage_channels(channels, "cifar")
        self.stems = stems("cifar", in_channels, widths[0], activation)
        style = Style(affine, activation, None)

        def block(place: int, **shape: Any) -> MixedCell:
            del place
            return MixedCell(
                space, style=style, partial_channels=partial_channels, pool_norm=pool_norm, **shape
            )

        made = row_of_cells(block, cells, widths, halved=False)
        self.cells = nn.ModuleList(made)
        self.head = nn.Linear(made[-1].out_channels, classes)

    @property
    def kinds(self) -> list[int]:
        """Which cell of the genotype stands at each place."""
        count = len(self.cells)
        return [self.space.kind(place, reduction=place in reductions(count)) for place in range(count)]

    @property
    def cell_names(self) -> list[tuple[str, str]]:
        """How the names of each place's weights begin, here and in a `CellNet`."""
        return [(f"cells.{place}.", f"cells.{place}.") for place in range(len(self.cells))]

    @property
    def other_names(self) -> dict[str, str]:
        """The same of what lies outside of the cells."""
        return {"stems.": "stems.", "head.": "head."}

    def forward(self, x: Tensor) -> Tensor:
        mixing = self.arch()
        older = self.stems[0](x)
        newer = self.stems[1](older)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            inputs = None if mixing.inputs is None else mixing.inputs[kind]
            given = (older, newer, mixing.operations[kind], inputs)
            older, newer = newer, forgetting(cell, *given) if self.checkpointing else cell(*given)
        return self.head(F.adaptive_avg_pool2d(newer, 1).flatten(1))

    def operations(self) -> list[nn.Module]:
        """Every candidate of every edge, in order of place, edge and operation."""
        edges = (module for module in self.modules() if isinstance(module, MixedOperation))
        return [op for edge in edges for op in edge.operations]

    def weights(self) -> list[nn.Parameter]:
        """Every parameter but the architecture's."""
        return [p for name, p in self.named_parameters() if not name.startswith("arch.")]


class Mixed(Protocol):
    """What the weights of a discrete network are taken from."""

    space: Space
    partial_channels: int

    @property
    def kinds(self) -> list[int]:
        """Which cell of the genotype stands at each place."""

    @property
    def cell_names(self) -> list[tuple[str, str]]:
        """How the names of each place's weights begin, here and in the discrete network."""

    @property
    def other_names(self) -> dict[str, str]:
        """The same of what lies outside of the cells."""

    def state_dict(self) -> dict[str, Any]:
        """All weights by name."""


def inherited(supernet: Mixed, genotype: Genotype) -> dict[str, Tensor]:
    """The state of a discrete network of these cells, as wide and deep as the supernet, from the supernet's weights.

    Raises:
        InputError: a genotype outside the supernet's space, or a supernet with partial channels, whose operations are narrower.
    """
    space = supernet.space
    if supernet.partial_channels > 1:
        raise InputError(
            f"partial_channels: expected 1 to inherit weights, came {supernet.partial_channels}; retrain instead"
        )
    if not space.contains(genotype):
        raise InputError(f"genotype: expected one of the supernet's space, came {genotype.name}")
    names = dict(supernet.other_names)
    for (here, there), kind in zip(supernet.cell_names, supernet.kinds, strict=True):
        cell = _names(space, genotype.cells[kind])
        names |= {here + mixed: there + own for mixed, own in cell.items()}
    return {
        after + name.removeprefix(before): tensor
        for name, tensor in supernet.state_dict().items()
        for before, after in names.items()
        if name.startswith(before)
    }


def _names(space: Space, cell: Cell) -> dict[str, str]:
    """How names begin in a `MixedCell`, and in the `CellBlock` of one of its cells."""
    number = {edge: at for at, edge in enumerate(space.edges)}
    names = {"inputs.": "inputs."}
    for node, edges in enumerate(cell.nodes):
        for at, (op, source) in enumerate(edges):
            # A pooling's normalisation is not in the discrete network.
            if "pool" not in op:
                mixed = (
                    f"edges.{number[source, space.targets[node]]}.operations.{space.operations.index(op)}."
                )
                names[mixed] = f"nodes.{node}.{at}."
    return names
