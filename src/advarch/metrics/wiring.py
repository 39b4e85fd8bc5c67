"""How densely the cells of a network are wired, place by place (RobNet, section 3)."""

from statistics import mean
from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.backbones.cell_net import CellNet, reductions
from advarch.errors import InputError
from advarch.genotype import measures
from advarch.metrics.measured import Measured
from advarch.types import Images, Labels


def wiring(
    model: nn.Module, x: Images, y: Labels, *, candidates: Annotated[int, Ge(1)] = measures.CANDIDATES
) -> Measured:
    """Density (RobNet Eq. 2) and direct edges of every cell; the images decide nothing.

    Args:
        model: a network of cells.
        x, y: not looked at.
        candidates: operations that the search space allows on an edge at once: 2 in RobNet, 1 where a choice is made.

    Returns:
        Numbers: the means over the cells of density, direct_edge_share, direct_convolution_share and convolutions. Table: cell,
        from 0, and the same of each.

    Raises:
        InputError: a network without cells.
    """
    del x, y
    net = next((module for module in model.modules() if isinstance(module, CellNet)), None)
    if net is None:
        raise InputError(
            "wiring: expected a network of cells, came one without; leave it out or choose a cell network, backbone=robnet_large"
        )
    count = len(net.cells)
    cells = [net.genotype.cell(place, reduction=place in reductions(count)) for place in range(count)]
    columns = {
        "density": [float(measures.density(cell, candidates)) for cell in cells],
        "direct_edge_share": [float(measures.direct_edge_share(cell)) for cell in cells],
        "direct_convolution_share": [float(measures.direct_convolution_share(cell)) for cell in cells],
        "convolutions": [float(measures.convolutions(cell)) for cell in cells],
    }
    return Measured(
        {name: mean(column) for name, column in columns.items()}, {"cell": list(range(count)), **columns}
    )
