"""The edge of a supernet: every candidate operation at once, weighed or chosen (DARTS, PC-DARTS)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.genotype.operations import OPERATIONS
from advarch.layers.activations import Activation
from advarch.layers.cell_operations import Zero, operation

Chosen = tuple[bool, ...]
"""Which operations of an edge take part, each with weight 1; the others aren't computed."""


class Mixing(NamedTuple):
    """The weights of a supernet's edges in one forward pass.

    operations: (kinds, edges, operations), or for each kind and edge which operations are chosen.
    inputs: (kinds, edges), beside which an edge's result is weighed (PC-DARTS' edge normalisation); None: all 1.
    """

    operations: Tensor | tuple[tuple[Chosen, ...], ...]
    inputs: Tensor | None = None


class MixedOperation(nn.Module):
    """sum_o w_o o(x) (DARTS, Eq. 2), with partial channels on the first 1/K of them (PC-DARTS, Eq. 2).

    The other channels pass by, on stride 2 through a 2x2 max pooling, and the channels are shuffled afterwards, so that
    another part of them is the first one on the next edge. K = 1 is the plain mixture.

    Args:
        operations: names of the candidates; `none` adds nothing and isn't computed.
        channels: in and out, a multiple of `partial_channels`.
        stride: 1 or 2.
        partial_channels: K.
        pool_norm: a normalisation without scale and shift behind each pooling, as in the code of DARTS and PC-DARTS.
        affine: whether the other normalisations have a scale and a shift.
        act: the activation before convolutions.
    """

    def __init__(
        self,
        operations: Sequence[str],
        channels: int,
        stride: int,
        *,
        partial_channels: int = 1,
        pool_norm: bool = True,
        affine: bool = False,
        act: Activation = "relu",
    ) -> None:
        super().__init__()
        self.partial_channels, self.stride = partial_channels, stride
        self.width = channels // partial_channels
        self.operations = nn.ModuleList(
            _candidate(name, self.width, stride, pool_norm, affine, act) for name in operations
        )

    def forward(self, x: Tensor, weights: Tensor | Chosen) -> Tensor:
        mixed = self._mixed(x[:, : self.width] if self.partial_channels > 1 else x, weights)
        if self.partial_channels == 1:
            return mixed
        rest = x[:, self.width :]
        if self.stride > 1:
            rest = F.max_pool2d(rest, self.stride, self.stride, ceil_mode=True)
        return shuffled(torch.cat([mixed, rest], dim=1), self.partial_channels)

    def _mixed(self, x: Tensor, weights: Tensor | Chosen) -> Tensor:
        if isinstance(weights, Tensor):
            terms = [
                weight * op(x)
                for weight, op in zip(weights, self.operations, strict=True)
                if not isinstance(op, Zero)
            ]
        else:
            terms = [op(x) for chosen, op in zip(weights, self.operations, strict=True) if chosen]
        return sum(terms[1:], terms[0])


def _candidate(
    name: str, channels: int, stride: int, pool_norm: bool, affine: bool, act: Activation
) -> nn.Module:
    made = operation(name, channels, stride, affine=affine, act=act)
    if pool_norm and OPERATIONS[name].family == "pool":
        return nn.Sequential(made, nn.BatchNorm2d(channels, affine=False))
    return made


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels dealt into `groups` in turn: (g, c / g) read as (c / g, g)."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
