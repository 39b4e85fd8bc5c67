"""A network behind its input normalisation."""

from collections.abc import Sequence

from torch import nn

from advarch.layers.normalisation import Normalise


def normalised(network: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None) -> nn.Module:
    """The network itself when there is nothing to normalise by (as in RobustWRN), else normalisation and network in a row."""
    if mean is None or std is None:
        return network
    return nn.Sequential(Normalise(mean, std), network)
