"""RACL's upper bound of the Lipschitz constant of a network of cells."""

import math
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.backbones.cell_net import CellBlock
from advarch.errors import InputError
from advarch.metrics.map_sizes import map_sizes
from advarch.metrics.measured import Measured
from advarch.metrics.operation_norm import operation_norm
from advarch.metrics.spectral import POWER_STEPS, convolution_norm, kernel_norm
from advarch.types import Images, Labels


def node_constants(
    cell: CellBlock, convolution: Callable[[nn.Conv2d], float], *, batch_norm: bool = False
) -> list[float]:
    """lambda(I^(j)) = sum of lambda_o over the edges of node j: Eq. 9 of a discrete cell, whose alpha and beta are 1."""
    found = []
    for operations in cell.nodes:
        assert isinstance(operations, nn.ModuleList)
        found.append(sum(operation_norm(o, convolution, batch_norm=batch_norm) for o in operations))
    return found


def cell_bound(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    steps: Annotated[int, Ge(1)] = POWER_STEPS,
    batch_norm: bool = False,
) -> Measured:
    """ln prod_k prod_j lambda(I_k^(j)) over cells k and nodes j (RACL, Eq. 10 with C = 1), in l_2.

    Twice: the norm of a convolution that of its kernel as a matrix, by power iteration as in the paper, and exactly, as
    an operator on maps of its size (circular padding). As printed, the sum over edges leaves out what they read from, the
    1x1 convolutions that bring a cell's inputs to its width, stem and head.

    Args:
        model: a network of cells.
        x: images, of which the first one is shown to the network for the sizes of its maps.
        y: not looked at.
        steps: of the power iteration.
        batch_norm: count the scales of batch normalisation, which RACL leaves out.

    Returns:
        Numbers `log_bound` and `log_bound_exact` (natural logarithms); a row for each node.

    Raises:
        InputError: a network without cells.
    """
    del y
    cells = [(name, module) for name, module in model.named_modules() if isinstance(module, CellBlock)]
    if not cells:
        raise InputError(
            "cell_bound: expected a network of cells, came one without; leave it out or choose a cell network, backbone=racl_v1"
        )
    sizes, modules = map_sizes(model, x), dict(model.named_modules())
    exact = {modules[name]: float(convolution_norm(modules[name], size)) for name, size in sizes.items()}

    def kernel(convolution: nn.Conv2d) -> float:
        return float(kernel_norm(convolution.weight.detach(), groups=convolution.groups, steps=steps))

    rows = [
        (name, number, by_kernel, by_operator)
        for name, cell in cells
        for number, (by_kernel, by_operator) in enumerate(
            zip(
                node_constants(cell, kernel, batch_norm=batch_norm),
                node_constants(cell, exact.__getitem__, batch_norm=batch_norm),
                strict=True,
            ),
            2,
        )
    ]
    names, numbers, by_kernels, by_operators = zip(*rows, strict=True)
    return Measured(
        numbers={"log_bound": _log(by_kernels), "log_bound_exact": _log(by_operators)},
        table={"cell": names, "node": numbers, "constant": by_kernels, "constant_exact": by_operators},
    )


def _log(constants: tuple[float, ...]) -> float:
    return sum(map(math.log, constants)) if all(constants) else -math.inf
