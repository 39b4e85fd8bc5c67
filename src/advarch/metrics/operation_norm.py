"""The Lipschitz constants of a cell's operations in l_2 (RACL, section 3.2)."""

import math
from collections.abc import Callable

from torch import nn

from advarch.errors import InputError
from advarch.layers.cell_operations import FactorizedReduce, Zero


def operation_norm(
    operation: nn.Module, convolution: Callable[[nn.Conv2d], float], *, batch_norm: bool = False
) -> float:
    """lambda_o: average pooling S^-1/2 (S its stride), max-pooling 1, identity 1, zero 0, convolutions by `convolution`.

    Of operations in a row the product. The two halves of a stride-2 skip see different pixels, so of them the larger. An
    activation counts as 1-Lipschitz, and so does what only acts in training.

    Args:
        operation: of an edge, as `layers.cell_operations` makes it.
        convolution: the norm of one convolution.
        batch_norm: multiply by the largest |scale| / sqrt(variance + eps) of each normalisation, which RACL leaves out.

    Raises:
        InputError: a module with weights that is none of these.
    """
    if isinstance(operation, nn.Sequential):
        return math.prod(operation_norm(part, convolution, batch_norm=batch_norm) for part in operation)
    if isinstance(operation, nn.Conv2d):
        return convolution(operation)
    if isinstance(operation, FactorizedReduce):
        halves = max(convolution(operation.even), convolution(operation.odd))
        return halves * operation_norm(operation.norm, convolution, batch_norm=batch_norm)
    if isinstance(operation, nn.AvgPool2d):
        side = operation.stride
        return (side if isinstance(side, int) else math.sqrt(math.prod(side))) ** -0.5
    if isinstance(operation, Zero):
        return 0.0
    if isinstance(operation, nn.BatchNorm2d):
        return _scale(operation) if batch_norm else 1.0
    if any(True for _ in operation.parameters()):
        raise InputError(
            f"expected operations of known Lipschitz constant, came {type(operation).__name__}; see layers.cell_operations"
        )
    return 1.0


def _scale(norm: nn.BatchNorm2d) -> float:
    assert norm.running_var is not None, "the networks' norms keep running statistics"
    scale = (norm.running_var + norm.eps).rsqrt()
    return float((scale if norm.weight is None else scale * norm.weight.detach().abs()).max())
