"""A supernet that is cheaper to attack: in eval mode and at fixed weights the same function of the images."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.backbones.supernet import MixedCell
from advarch.genotype.operations import OPERATIONS
from advarch.layers.cell_operations import FactorizedReduce
from advarch.layers.fused_edges import FusedEdges, halves, normalisation, reduction
from advarch.layers.mixed_op import Chosen, MixedOperation, shuffled

FUSED = {"separable", "dilated", "pool", "skip", "none"}


class FusedCell(nn.Module):
    """A `MixedCell` in eval mode whose weights and mixture stay as they are at the first call.

    Args:
        cell: whose weights it reads then.
    """

    def __init__(self, cell: MixedCell) -> None:
        super().__init__()
        self.of = (cell,)  # not a part of this one
        self.made = False

    @torch.no_grad()
    def _make(self, operations: Tensor | tuple[Chosen, ...], inputs: Tensor | None) -> None:
        """Read weights, statistics and mixture."""
        (cell,) = self.of
        space, edges = cell.space, list(cell.edges)
        first = edges[0]
        self.groups, self.width, self.act = first.partial_channels, first.width, cell.inputs[1][0]
        self.inputs = [_input(module) for module in cell.inputs]
        weights, present = _shares(space.operations, operations, inputs, like=cell.inputs[1][1].weight)
        self.leaving, self.strides = [], []
        self.bypass = _bypass(operations, inputs)
        for source in range(2 + space.nodes - 1):
            out = [at for at, edge in enumerate(space.edges) if edge[0] == source]
            rows = [present[at] for at in out]
            self.strides.append(edges[out[0]].stride)
            self.leaving.append(
                FusedEdges(
                    space.operations, [edges[at].operations for at in out], weights[out], rows,
                    channels=self.width, act=self.act,
                )
                if any(any(row) for row in rows) else None
            )  # fmt: skip
        self.incoming, self.sources = space.incoming, [source for source, _ in space.edges]
        self.made = True

    def forward(
        self, older: Tensor, newer: Tensor, operations: Tensor | tuple[Chosen, ...], inputs: Tensor | None
    ) -> Tensor:
        if not self.made:
            self._make(operations, inputs)
        if older.device.type == "cpu":
            older, newer = (x.contiguous(memory_format=torch.channels_last) for x in (older, newer))
        states, rests = [], []
        pending: Tensor | None = None
        for source in range(len(self.leaving) + 1):
            if source < 2:
                state = self.inputs[source]((older, newer)[source], self.act)
            else:
                assert pending is not None
                state = pending[:, : self.width]
                pending = pending[:, self.width :]
                if self.groups > 1:
                    state = shuffled(torch.cat([state, self._passed(rests, source - 2)], 1), self.groups)
                states.append(state)
            if source == len(self.leaving):
                break
            edges = self.leaving[source]
            if edges is not None:
                added = edges(state[:, : self.width] if self.groups > 1 else state)
                pending = added if pending is None else pending + added
            if self.groups > 1:
                rest = state[:, self.width :]
                stride = self.strides[source]
                rests.append(rest if stride == 1 else F.max_pool2d(rest, stride, stride, ceil_mode=True))
        return torch.cat(states, 1)

    def _passed(self, rests: list[Tensor], node: int) -> Tensor:
        """sum over the edges into a node, of what passes by the operations."""
        part = self.incoming[node]
        terms = [
            (self.bypass[edge], rests[self.sources[edge]])
            for edge in range(part.start, part.stop)
            if self.bypass[edge]
        ]
        (factor, rest), *more = terms
        total = factor * rest
        for factor, rest in more:
            total = torch.add(total, rest, alpha=factor)
        return total


def _bypass(operations: Tensor | tuple[Chosen, ...], inputs: Tensor | None) -> list[float]:
    """What each edge's untouched channels are weighed by; 0 where the edge isn't there."""
    there = [isinstance(row, Tensor) or any(row) for row in operations]
    factors = [1.0] * len(there) if inputs is None else inputs.tolist()
    return [factor if on else 0.0 for factor, on in zip(factors, there, strict=True)]


def _shares(names, operations, inputs, like):
    convolved = [name != "none" for name in names]
    if isinstance(operations, Tensor):
        weights, present = operations, [convolved] * len(operations)
    else:
        weights = like.new_tensor(operations)
        present = [[bool(on) and c for on, c in zip(row, convolved, strict=True)] for row in operations]
    return (weights if inputs is None else weights * inputs[:, None]), present


def _input(module: nn.Module) -> Callable[[Tensor, nn.Module], Tensor]:
    """What brings an input to the cell's width: activation and one 1x1 convolution."""
    if isinstance(module, FactorizedReduce):
        made = reduction([module])
        weight, shift = made.mixer[0][:, :, None, None], made.shift[0]
        return lambda x, act: F.conv2d(halves(act(x)), weight, shift)
    _, convolution, norm = module
    scale, shift = normalisation([norm])
    weight, shift = convolution.weight * scale[0][:, None, None, None], shift[0]
    return lambda x, act: F.conv2d(act(x), weight, shift)


def fused(network: nn.Module) -> nn.Module:
    """A network that shares all with this one, but for its mixed cells."""
    if isinstance(network, MixedCell):
        return FusedCell(network)
    clone = copy.copy(network)
    clone._modules = {name: fused(part) if holds(part) else part for name, part in network._modules.items()}
    return clone


def holds(module: nn.Module | None) -> bool:
    return module is not None and any(isinstance(part, MixedCell) for part in module.modules())
