"""RobustWRN's upper bounds of the Lipschitz constant of a network with Gaussian weights, and how its weights have changed."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import nn

from advarch.errors import InputError
from advarch.metrics.map_sizes import map_sizes
from advarch.metrics.measured import Measured
from advarch.types import Images, Labels


def dense_factor(before: int, after: int) -> float:
    """sqrt(h_{j-1}) + sqrt(h_j): a layer's factor in Theorem 1, without its sigma; `before`, `after`: neurons."""
    return math.sqrt(before) + math.sqrt(after)


def convolution_factor(before: int, after: int, *, size: tuple[int, int], kernel: tuple[int, int]) -> float:
    """m_j sqrt(W_{j-1}) + (m_j - k_j + 1) sqrt(W_j): a layer's factor in Theorem 2, without its sigma.

    Args:
        before: channels in, W_{j-1}.
        after: channels out, W_j.
        size: height and width of the map that the kernel runs over, padding included, m_j x m_j in the theorem. A side m of
            a map that is no square stands for sqrt(height * width).
        kernel: height and width, k_j x k_j in the theorem.

    Raises:
        ValueError: a kernel larger than the map, of which the theorem does not speak.
    """
    places = [m - k + 1 for m, k in zip(size, kernel, strict=True)]
    if min(places) < 1:
        raise ValueError(f"expected a kernel no larger than its map, came kernel {kernel} on a map {size}")
    return math.sqrt(math.prod(size) * before) + math.sqrt(math.prod(places) * after)


def log_bound(factors: Iterable[float], deviations: Iterable[float]) -> float:
    """ln of prod_j factor_j sigma_j: Theorems 1 and 2. -inf where a layer has no spread.

    Args:
        factors: `dense_factor` or `convolution_factor` of each layer.
        deviations: the standard deviation sigma_j of its weights.
    """
    terms = [factor * sigma for factor, sigma in zip(factors, deviations, strict=True)]
    return sum(map(math.log, terms)) if all(terms) else -math.inf


class Layer(NamedTuple):
    """A layer with weights: its factor in the theorems and the variance of its weights."""

    name: str
    kind: str
    factor: float
    variance: float


def weight_variance(model: nn.Module, x: Images, y: Labels, *, initial: nn.Module) -> Measured:
    """The variance of the weights of every layer, now and before training, and the bounds of Theorems 1 and 2 for both.

    The theorems speak of layers in a row; of a network with shortcuts or branches the product over all its layers is taken
    all the same. A grouped convolution counts with the channels of one group, as its matrix falls into blocks.

    Args:
        model: images -> logits.
        x: images, of which the first one is shown to the network for the sizes of its maps.
        y: not looked at.
        initial: the network as it was before training.

    Returns:
        Numbers `log_bound`, `log_bound_initial` (natural logarithms) and `variance_ratio`, the geometric mean over layers of
        variance over initial variance; a row for each layer.

    Raises:
        InputError: a network without layers that have weights.
    """
    del y
    sizes = map_sizes(model, x)
    now, before = (list(_layers(network, sizes)) for network in (model, initial))
    if not now:
        raise InputError("weight_variance: expected a network with layers, came one without; leave it out")
    ratios = [new.variance / old.variance for new, old in zip(now, before, strict=True) if old.variance]
    bounds = [
        log_bound([layer.factor for layer in layers], [math.sqrt(layer.variance) for layer in layers])
        for layers in (now, before)
    ]
    return Measured(
        numbers={
            "log_bound": bounds[0],
            "log_bound_initial": bounds[1],
            "variance_ratio": math.prod(ratios) ** (1 / max(1, len(ratios))),
        },
        table={
            "layer": [layer.name for layer in now],
            "kind": [layer.kind for layer in now],
            "factor": [layer.factor for layer in now],
            "variance": [layer.variance for layer in now],
            "initial_variance": [layer.variance for layer in before],
        },
    )


def _layers(network: nn.Module, sizes: dict[str, tuple[int, int]]) -> Iterator[Layer]:
    """The convolutions in the order of the forward pass, then the linear layers."""
    modules = dict(network.named_modules())
    for name, size in sizes.items():
        module = modules[name]
        assert isinstance(module, nn.Conv2d)
        out, each, *kernel = module.weight.shape
        reach = [d * (k - 1) + 1 for d, k in zip(module.dilation, kernel, strict=True)]
        padded = [n + 2 * _padding(module, side) for side, n in enumerate(size)]
        factor = convolution_factor(
            each, out // module.groups, size=(padded[0], padded[1]), kernel=(reach[0], reach[1])
        )
        yield Layer(name, "convolution", factor, _variance(module))
    for name, module in modules.items():
        if isinstance(module, nn.Linear):
            yield Layer(
                name, "linear", dense_factor(module.in_features, module.out_features), _variance(module)
            )


def _padding(convolution: nn.Conv2d, side: int) -> int:
    if isinstance(convolution.padding, str):
        return (
            convolution.dilation[side]
            * (convolution.kernel_size[side] - 1)
            // 2
            * (convolution.padding == "same")
        )
    return convolution.padding[side]


def _variance(module: nn.Conv2d | nn.Linear) -> float:
    return float(module.weight.detach().double().var(correction=0))
