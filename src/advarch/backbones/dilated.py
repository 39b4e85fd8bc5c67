"""NADAR's hybrid network: a backbone, and beside each of its blocks a dilation block of cells (Li et al. 2021)."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

from annotated_types import Ge
from torch import Tensor, nn

from advarch.backbones.cell_net import CellBlock, Style
from advarch.backbones.chain import Chained, Split, split
from advarch.genotype.published import resolve
from advarch.genotype.stored import from_plain
from advarch.layers.activations import Activation
from advarch.layers.drop_path import Probability


class MakeCell(Protocol):
    """Makes a cell: older and newer input -> a map of `out_channels` channels, half the newer one's size in a reduction."""

    def __call__(
        self,
        block: int,
        *,
        in_channels: tuple[int, int],
        out_channels: int,
        older_is_larger: bool,
        reduction: bool,
    ) -> nn.Module: ...


class DilationBlock(nn.Module):
    """f_d of a block: cells in a row, the first on the hybrid's two previous maps, each later one on the two before it.

    `given` is what every cell is told beside the maps: nothing, or a search's `Mixing`.
    """

    def __init__(self, cells: list[nn.Module]) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)

    def forward(self, older: Tensor, newer: Tensor, *given: Any) -> Tensor:
        for cell in self.cells:
            older, newer = newer, cell(older, newer, *given)
        return newer


class Dilated(nn.Module):
    """z_l = f_b,l(z_{l-1}) + f_d,l(z_{l-1}, z_{l-2}) block by block, then the backbone's classifier (NADAR, Eq. 2).

    z_0 and z_-1 are what the stem puts out. The backbone alone is `base`; its weights are under that name in the state.

    Args:
        base: a chained network.
        parts: its blocks, as `backbones.chain.split` finds them.
        cells: of each dilation block.
        make_cell: makes each of them, from a genotype or as a search's mixed cell.
    """

    def __init__(self, base: nn.Module, *, parts: Split, cells: int, make_cell: MakeCell) -> None:
        super().__init__()
        assert isinstance(base, Chained)
        self.base = base
        self.layers = [block.layers for block in parts.blocks]
        self.dilation = _dilation(parts, cells, make_cell)

    def forward(self, x: Tensor, *given: Any) -> Tensor:
        stem, layers, classify = self.base.chain()
        older = newer = stem(x)
        for block, dilation in zip(self.layers, self.dilation, strict=True):
            dilated, of_base = dilation(older, newer, *given), newer
            for layer in layers[block]:
                of_base = layer(of_base)
            older, newer = newer, of_base + dilated
        return classify(newer)


def dilated(
    *,
    classes: Annotated[int, Ge(2)],
    in_channels: Annotated[int, Ge(1)],
    base: Callable[..., nn.Module],
    genotype: str | Mapping[str, Any],
    cells: Annotated[int, Ge(1)] = 6,
    activation: Activation = "relu",
    drop_path: Probability | None = None,
) -> Dilated:
    """The hybrid of a backbone and a genotype's cells, as NADAR retrains it.

    A node has the block's channels over the number of nodes that make a cell's output, so that the sum needs no projection.
    The first cell of a block reduces where the block halves the map.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        base: makes the backbone.
        genotype: a published name, a .json file, RobNet's text codes, or the content of a genotype's JSON; one with a cell for
            each place has one for each block.
        cells: of each dilation block: 6, in search 3 (NADAR, appendix A).
        activation: before every convolution of the cells.
        drop_path: probability, grown to linearly over the epochs, of leaving out an edge for an image; None never does.

    Raises:
        InputError: a genotype that can't be.
        ValueError: a backbone that can't be split, or that the genotype does not fit in number of blocks or in channels.
    """
    found = resolve(genotype) if isinstance(genotype, str) else from_plain(genotype)
    style = Style(affine=True, activation=activation, drop_path=drop_path)

    def make_cell(block: int, *, out_channels: int, reduction: bool, **options: Any) -> nn.Module:
        cell = found.cell(block, reduction=reduction)
        nodes = len(cell.concat)
        if out_channels % nodes:
            raise ValueError(
                f"genotype: expected cells whose {nodes} output nodes divide the {out_channels} channels of block {block + 1}"
            )
        return CellBlock(cell, channels=out_channels // nodes, reduction=reduction, style=style, **options)

    network = base(classes=classes, in_channels=in_channels)
    parts = split(network, in_channels)
    if found.layout == "each" and len(found.cells) != len(parts.blocks):
        raise ValueError(
            f"genotype: expected a cell for each of the {len(parts.blocks)} blocks, came {len(found.cells)} cells"
        )
    return Dilated(network, parts=parts, cells=cells, make_cell=make_cell)


def _dilation(parts: Split, cells: int, make_cell: MakeCell) -> nn.ModuleList:
    made = nn.ModuleList()
    older, newer, halved = parts.channels, parts.channels, False
    for number, block in enumerate(parts.blocks):
        row: list[nn.Module] = []
        inner = (older, newer)
        for place in range(cells):
            reduction = place == 0 and block.halves
            row.append(
                make_cell(
                    number,
                    in_channels=inner,
                    out_channels=block.channels,
                    older_is_larger=halved,
                    reduction=reduction,
                )
            )
            inner, halved = (inner[1], block.channels), reduction
        made.append(DilationBlock(row))
        older, newer, halved = newer, block.channels, block.halves
    return made
