"""NADAR's hybrid while it is searched: beside each block of a backbone a row of cells of mixed operations (Li et al. 2021)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge
from torch import Tensor, nn

from advarch.backbones.cell_net import Style
from advarch.backbones.chain import sides, split
from advarch.backbones.dilated import Dilated
from advarch.backbones.supernet import MixedCell
from advarch.errors import InputError
from advarch.genotype.space import Space
from advarch.layers.activations import Activation
from advarch.layers.forgetting import StatisticsKept, forgetting
from advarch.layers.mixed_op import MixedOperation, Mixing


class PlacedCell(nn.Module):
    """A mixed cell that takes the weights of its own kind from those of the whole network."""

    def __init__(self, cell: MixedCell, kind: int, checkpointing: bool) -> None:
        super().__init__()
        self.cell, self.kind, self.checkpointing = cell, kind, checkpointing

    def forward(self, older: Tensor, newer: Tensor, mixing: Mixing) -> Tensor:
        inputs = None if mixing.inputs is None else mixing.inputs[self.kind]
        given = (older, newer, mixing.operations[self.kind], inputs)
        return forgetting(self.cell, *given) if self.checkpointing else self.cell(*given)


class Place(NamedTuple):
    """Where a cell stands: its block, the channels of its nodes, and whether it halves the map."""

    block: int
    channels: int
    reduction: bool


class DilatedSupernet(nn.Module):
    """z_l = f_b,l(z_{l-1}) + f_d,l(z_{l-1}, z_{l-2}) with mixed operations in f_d (NADAR, Eqs. 2, 8 and 9).

    `arch` holds the architecture's parameters, as in `Supernet`. A node has the block's channels over the number of nodes, as
    in `backbones.dilated.dilated`, so the weights of a hybrid with the same cells are `inherited`.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        base: makes the backbone, a chained network.
        space: cells and candidates; with a cell for each place, its places are the blocks.
        arch: space -> a module that gives the `Mixing` when called without arguments.
        cells: of each block.
        partial_channels: K of PC-DARTS' partial channel connections; 1 has none.
        pool_norm: whether poolings are normalised, as in the code of DARTS; not so in the network that is retrained.
        affine: whether batch normalisation inside the cells has a scale and a shift.
        activation: before every convolution of the cells; the backbone has its own.
        checkpointing: keep only the cells' outputs for the backward pass and compute the rest again.

    Raises:
        InputError: channels or blocks that don't fit.
        ValueError: a backbone that can't be split.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        base: Callable[..., nn.Module],
        space: Space,
        arch: Callable[[Space], nn.Module],
        cells: Annotated[int, Ge(1)] = 3,
        partial_channels: Annotated[int, Ge(1)] = 4,
        pool_norm: bool = True,
        affine: bool = False,
        activation: Activation = "relu",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        network = base(classes=classes, in_channels=in_channels)
        self.in_channels, self.parts = in_channels, split(network, in_channels)
        self.space, self.cells, self.partial_channels = space, cells, partial_channels
        self.alone = False
        self._check()
        self.arch = arch(space)
        self.places: list[Place] = []
        style = Style(affine, activation, None)

        def make_cell(block: int, *, out_channels: int, reduction: bool, **shape: Any) -> PlacedCell:
            place = Place(block, out_channels // space.nodes, reduction)
            self.places.append(place)
            cell = MixedCell(
                space, channels=place.channels, reduction=reduction, style=style,
                partial_channels=partial_channels, pool_norm=pool_norm, **shape,
            )  # fmt: skip
            return PlacedCell(cell, space.kind(block, reduction=reduction), checkpointing)

        self.hybrid = Dilated(network, parts=self.parts, cells=cells, make_cell=make_cell)

    def _check(self) -> None:
        space, blocks = self.space, self.parts.blocks
        if space.layout == "each" and space.places != len(blocks):
            raise InputError(
                f"space.places: expected {len(blocks)}, the backbone's blocks, came {space.places}"
            )
        for number, block in enumerate(blocks, 1):
            if block.channels % (space.nodes * self.partial_channels):
                raise InputError(
                    f"base: expected blocks of a multiple of {space.nodes * self.partial_channels} channels, "
                    f"{space.nodes} nodes times partial_channels={self.partial_channels}, came {block.channels} "
                    f"in block {number}"
                )

    @property
    def kinds(self) -> list[int]:
        """Which cell of the genotype stands at each place."""
        return [self.space.kind(place.block, reduction=place.reduction) for place in self.places]

    @property
    def cell_names(self) -> list[tuple[str, str]]:
        """How the names of each place's weights begin, here and in the hybrid of a genotype."""
        found = [f"dilation.{place.block}.cells.{at % self.cells}." for at, place in enumerate(self.places)]
        return [(f"hybrid.{name}cell.", name) for name in found]

    @property
    def other_names(self) -> dict[str, str]:
        """The same of what lies outside of the cells: the backbone."""
        return {"hybrid.base.": "base."}

    @property
    def base(self) -> nn.Module:
        """The backbone, stem and classifier included."""
        return self.hybrid.base

    def forward(self, x: Tensor) -> Tensor:
        return self.hybrid.base(x) if self.alone else self.hybrid(x, self.arch())

    @contextmanager
    def undilated(self) -> Iterator[None]:
        """Meanwhile this is the backbone alone (NADAR, Eq. 5), in whatever the supernet is wrapped in.

        The running statistics are those of the hybrid and stay.
        """
        self.alone = True
        try:
            with StatisticsKept(self.base):
                yield
        finally:
            self.alone = False

    def sides(self, side: int) -> list[int]:
        """Pixels in a row of the map that each place's cell is given, when the images are squares of `side` pixels."""
        of_blocks = sides(self.base, self.parts, self.in_channels, side)
        halved = [block.halves for block in self.parts.blocks]
        return [
            -(-of_blocks[place.block] // 2) if halved[place.block] and not place.reduction
            else of_blocks[place.block]
            for place in self.places
        ]  # fmt: skip

    def operations(self) -> list[nn.Module]:
        """Every candidate of every edge, in order of place, edge and operation."""
        edges = (module for module in self.hybrid.dilation.modules() if isinstance(module, MixedOperation))
        return [op for edge in edges for op in edge.operations]

    def weights(self) -> list[nn.Parameter]:
        """Every parameter but the architecture's."""
        return list(self.hybrid.parameters())
