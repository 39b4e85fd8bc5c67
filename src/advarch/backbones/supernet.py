"""Supernets: networks of cells whose every edge holds all candidate operations (DARTS, PC-DARTS, RACL, RobNet)."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from advarch.backbones.cell_net import Style, cell_inputs, reductions, row_of_cells, stage_channels, stems
from advarch.errors import InputError
from advarch.genotype.cell import Genotype, check_places
from advarch.genotype.space import Space
from advarch.layers.activations import Activation
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

    def forward(self, x: Tensor) -> Tensor:
        mixing = self.arch()
        older = self.stems[0](x)
        newer = self.stems[1](older)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            inputs = None if mixing.inputs is None else mixing.inputs[kind]
            given = (older, newer, mixing.operations[kind], inputs)
            if self.checkpointing and torch.is_grad_enabled():
                output = _forgetting(cell, *given)
            else:
                output = cell(*given)
            older, newer = newer, output
        return self.head(F.adaptive_avg_pool2d(newer, 1).flatten(1))

    def operations(self) -> list[nn.Module]:
        """Every candidate of every edge, in order of place, edge and operation."""
        edges = (module for module in self.modules() if isinstance(module, MixedOperation))
        return [op for edge in edges for op in edge.operations]

    def weights(self) -> list[nn.Parameter]:
        """Every parameter but the architecture's."""
        return [p for name, p in self.named_parameters() if not name.startswith("arch.")]


def inherited(supernet: Supernet, genotype: Genotype) -> dict[str, Tensor]:
    """The state of a `CellNet` of these cells, as wide and deep as the supernet, from the supernet's weights.

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
    check_places(genotype, len(supernet.cells))
    number = {edge: at for at, edge in enumerate(space.edges)}
    state = supernet.state_dict()
    names = {name: name for name in state if name.startswith(("stems.", "head.")) or ".inputs." in name}
    for place, kind in enumerate(supernet.kinds):
        for node, edges in enumerate(genotype.cells[kind].nodes):
            for at, (op, source) in enumerate(edges):
                edge = number[source, space.targets[node]]
                mixed = f"cells.{place}.edges.{edge}.operations.{space.operations.index(op)}."
                if "pool" not in op:
                    new = f"cells.{place}.nodes.{node}.{at}."
                    names |= {
                        name: new + name.removeprefix(mixed) for name in state if name.startswith(mixed)
                    }
    return {new: state[old] for old, new in names.items()}


def _forgetting(cell: nn.Module, *given: Any) -> Tensor:
    """The cell's output; what lies between is computed again in the backward pass."""
    return checkpoint(
        cell, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), _StatisticsKept(cell))
    )


class _StatisticsKept:
    """The running statistics stay as they are while a cell's forward pass is computed again, once for each derivative."""

    def __init__(self, cell: nn.Module) -> None:
        self.norms = [norm for norm in cell.modules() if isinstance(norm, _NormBase) and norm.training]
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, tracked) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
