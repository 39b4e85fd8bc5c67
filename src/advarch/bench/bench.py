"""What every row is told: where to measure, how large, and what only the command can do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from advarch.bench.machine import peak
from advarch.bench.row import Row
from advarch.bench.sizes import NETWORKS, Sizes

Case = tuple[str, Callable[[], Row]]
"""A row's name and what measures it."""

Train = Callable[[Sequence[str]], tuple[Path, float]]
"""Train what these overrides describe: the run's folder, and images per second of its last epoch; NaN when it failed."""


@dataclass(frozen=True)
class Bench:
    """A measurement about to be made.

    say: progress in a line.
    train: a whole run, as the command makes it.
    """

    device: torch.device
    sizes: Sizes
    say: Callable[[str], None]
    train: Train

    def network(self, name: str) -> nn.Module:
        """A network of the table, always with the same weights, in the layout of the peers."""
        return build(name, self.device)

    def peak(self) -> float:
        """Multiply-adds per second of a matrix product in the precision of our training step."""
        return peak(self.device, self.sizes.precision, self.sizes.product)


def build(name: str, device: torch.device, channels: int = 3) -> nn.Module:
    """The same without a bench."""
    torch.manual_seed(0)
    made: nn.Module = NETWORKS[name](in_channels=channels)
    return made.to(device)


def channels_last(network: nn.Module) -> nn.Module:
    """The layout that convolutions are fast in; ours."""
    laid: nn.Module = network.to(memory_format=torch.channels_last)
    return laid
