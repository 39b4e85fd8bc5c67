"""A supernet that is cheaper to attack: the same function of the images in eval mode, at the weights and mixture of the moment."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.backbones.supernet import MixedCell, Supernet
from advarch.genotype.operations import OPERATIONS
from advarch.layers.activations import PLAIN
from advarch.layers.cell_operations import FactorizedReduce, Zero
from advarch.layers.frozen import NORMS
from advarch.layers.fused_edges import FusedEdges, halves, normalisation, reduction
from advarch.layers.mixed_op import MixedOperation, shuffled

PARTS = (FactorizedReduce, Zero, nn.Identity, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
KNOWN = {MixedCell, MixedOperation, nn.ModuleList, nn.Sequential, *PARTS, *NORMS, *PLAIN}
"""What a fused cell may be made of: an activation with a parameter is another one on every edge."""


class FusedCell(nn.Module):
    """A `MixedCell` in eval mode; weights, statistics and mixture are those of the first call.

    Args:
        cell: whose they are.
    """

    def __init__(self, cell: MixedCell) -> None:
        super().__init__()
        self.cell = cell
        self.leaving: list[FusedEdges] = []
        """The edges that leave each state but the last."""

    def forward(self, older: Tensor, newer: Tensor, operations: Tensor, inputs: Tensor | None) -> Tensor:
        if not self.leaving:
            self._read(operations, inputs)
        if older.device.type == "cpu":
            older, newer = (x.contiguous(memory_format=torch.channels_last) for x in (older, newer))
        states = [self.inputs[0](older), self.inputs[1](newer)]
        rests: list[Tensor] = []
        mixed, width = None, self.width
        for source, edges in enumerate(self.leaving):
            if source > 1:
                assert mixed is not None
                states.append(self._node(mixed[:, :width], rests))
                mixed = mixed[:, width:]
            state, stride = states[source], self.strides[source]
            added = edges(state[:, :width])
            mixed = added if mixed is None else mixed + added
            if self.groups > 1:
                rest = state[:, width:]
                rests.append(rest if stride == 1 else F.max_pool2d(rest, stride, stride, ceil_mode=True))
        assert mixed is not None
        return torch.cat([*states[2:], self._node(mixed, rests)], 1)

    @torch.no_grad()
    def _read(self, operations: Tensor, inputs: Tensor | None) -> None:
        cell, space = self.cell, self.cell.space
        edges: list[Any] = list(cell.edges)
        pointwise: Any = cell.inputs[1]
        self.groups, self.width = edges[0].partial_channels, edges[0].width
        self.inputs = [_input(module) for module in cell.inputs]
        factors = operations.new_ones(len(operations)) if inputs is None else inputs
        self.passing: list[float] = factors.tolist()
        weights, self.strides = operations * factors[:, None], []
        for source in range(max(space.targets)):
            out = [at for at, edge in enumerate(space.edges) if edge[0] == source]
            candidates = [edges[at].operations for at in out]
            options: dict[str, Any] = {"channels": self.width, "act": pointwise[0]}
            self.leaving.append(FusedEdges(space.operations, candidates, weights[out], **options))
            self.strides.append(edges[out[0]].stride)

    def _node(self, mixed: Tensor, rests: Sequence[Tensor]) -> Tensor:
        """A node from what its edges add, and from the channels of all states before it that pass by."""
        if self.groups == 1:
            return mixed
        part = self.cell.space.incoming[len(rests) - 2]
        (first, factor), *more = zip(rests, self.passing[part], strict=True)
        total = factor * first
        for rest, factor in more:
            total = total.add(rest, alpha=factor)
        return shuffled(torch.cat([mixed, total], 1), self.groups)


def fused(network: nn.Module) -> nn.Module:
    """A network that shares everything with this one but its mixed cells, whose place fused ones take."""
    if isinstance(network, MixedCell):
        return FusedCell(network)
    clone = copy.copy(network)
    clone._modules = {
        name: fused(part) if part is not None and _cells(part) else part
        for name, part in network._modules.items()
    }
    return clone


def obstacle(network: nn.Module) -> str | None:
    """Why the network's cells can't be fused; None where they can."""
    # Fused cells give channels_last, in which a convolution elsewhere could be unsafe (`layers.layout`); a Supernet has none.
    supernets = [module for module in network.modules() if isinstance(module, Supernet)]
    if not supernets:
        return "only the cells of a Supernet can be fused"
    if any(not isinstance(supernet.arch().operations, Tensor) for supernet in supernets):
        return "chosen operations are no cheaper fused"
    for cell in _cells(network):
        if any(OPERATIONS[name].family == "factorised" for name in cell.space.operations):
            return "factorised convolutions can't be fused"
        for module in cell.modules():
            named = type(module).__name__
            if type(module) not in KNOWN or (isinstance(module, NORMS) and module.running_mean is None):
                return f"{named} can't be fused"
            if isinstance(module, nn.Sequential | FactorizedReduce) and _has_identity(module):
                return "a normalisation is left out"
            if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
                return f"a hook looks at {named}"
    return None


def _has_identity(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Identity) for part in module.children())


def _cells(network: nn.Module) -> list[MixedCell]:
    return [module for module in network.modules() if isinstance(module, MixedCell)]


def _input(module: Any) -> Callable[[Tensor], Tensor]:
    """What brings an input to the cell's width and map: activation and one 1x1 convolution."""
    if isinstance(module, FactorizedReduce):
        made = reduction([module])
        weight, shift = made.mixer[0][:, :, None, None], made.shift[0]
        return lambda x: F.conv2d(halves(module.act(x)), weight, shift)
    act, convolution, norm = module
    scale, shifts = normalisation([norm])
    weight = convolution.weight * scale[0][:, None, None, None]
    return lambda x: F.conv2d(act(x), weight, shifts[0])
