"""The norm of every convolution of a network, as the papers estimate it and as it is."""

import math
from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.errors import InputError
from advarch.metrics.map_sizes import map_sizes
from advarch.metrics.measured import Measured
from advarch.metrics.spectral import POWER_STEPS, convolution_norm, kernel_norm, padded_norm
from advarch.types import Images, Labels


def convolution_norms(
    model: nn.Module, x: Images, y: Labels, *, steps: Annotated[int, Ge(1)] = POWER_STEPS
) -> Measured:
    """||W||_2 of every convolution: of its kernel as a matrix, as an operator with its own padding, and with circular padding.

    The first two by power iteration, the third exactly through the Fourier transform. RACL's and Yoshida & Miyato's norm is
    the first.

    Args:
        model: images -> logits.
        x: images, of which the first one is shown to the network for the sizes of its maps.
        y: not looked at.
        steps: of the power iterations.

    Returns:
        Numbers `kernel_over_exact` and `padded_over_exact`, geometric means over the convolutions, and `largest`, the largest
        exact norm; a row for each convolution.

    Raises:
        InputError: a network without convolutions.
    """
    del y
    modules, rows = dict(model.named_modules()), []
    for name, size in map_sizes(model, x).items():
        module = modules[name]
        assert isinstance(module, nn.Conv2d)
        kernel = float(kernel_norm(module.weight.detach(), groups=module.groups, steps=steps))
        padded = float(padded_norm(module, size, steps=steps))
        rows.append((name, kernel, padded, float(convolution_norm(module, size))))
    if not rows:
        raise InputError(
            "convolution_norms: expected a network with convolutions, came one without; leave it out"
        )
    names, kernels, padded_ones, exact = zip(*rows, strict=True)
    return Measured(
        numbers={
            "kernel_over_exact": _mean_ratio(kernels, exact),
            "padded_over_exact": _mean_ratio(padded_ones, exact),
            "largest": max(exact),
        },
        table={"convolution": names, "kernel": kernels, "padded": padded_ones, "exact": exact},
    )


def _mean_ratio(these: tuple[float, ...], those: tuple[float, ...]) -> float:
    logs = [math.log(a / b) for a, b in zip(these, those, strict=True) if a and b]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0
