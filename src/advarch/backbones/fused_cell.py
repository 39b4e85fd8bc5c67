"""A supernet that is cheaper to attack: the same function of the images in eval mode, at the weights and mixture of the moment."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.backbones.supernet import MixedCell
from advarch.genotype.operations import OPERATIONS
from advarch.layers.cell_operations import FactorizedReduce, Zero
from advarch.layers.fused_edges import FusedEdges, halves, normalisation, reduction
from advarch.layers.mixed_op import Chosen, MixedOperation, shuffled

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
KNOWN = {
    *(
        MixedCell,
        MixedOperation,
        FactorizedReduce,
        Zero,
        nn.ModuleList,
        nn.Sequential,
        nn.Identity,
        nn.Conv2d,
    ),
    *(*NORMS, nn.MaxPool2d, nn.AvgPool2d),
    *(nn.ReLU, nn.SiLU, nn.GELU, nn.ELU, nn.Softplus, nn.Mish, nn.LeakyReLU),
}
"""What a fused cell may be made of: an activation with a parameter is another one on every edge."""


class FusedCell(nn.Module):
    """A `MixedCell` in eval mode; weights, statistics and mixture are those of the first call.

    Args:
        cell: whose they are.
    """

    def __init__(self, cell: MixedCell) -> None:
        super().__init__()
        self.cell = cell
        self.leaving: list[FusedEdges | None] = []
        """The edges that leave each state but the last, unless none of them is there."""

    def forward(
        self, older: Tensor, newer: Tensor, operations: Tensor | tuple[Chosen, ...], inputs: Tensor | None
    ) -> Tensor:
        if not self.leaving:
            self._read(operations, inputs)
        if older.device.type == "cpu":
            older, newer = (x.contiguous(memory_format=torch.channels_last) for x in (older, newer))
        states = [self.inputs[0](older), self.inputs[1](newer)]
        rests: list[Tensor] = []
        mixed, width = torch.zeros(()), self.width
        for source, edges in enumerate([*self.leaving, None]):
            if source > 1:
                node, mixed = mixed[:, :width], mixed[:, width:]
                if self.groups > 1:
                    node = shuffled(torch.cat([node, self._passing(rests, source - 2)], 1), self.groups)
                states.append(node)
            state = states[source]
            if edges is not None:
                added = edges(state[:, :width])
                mixed = mixed + added if mixed.dim() else added
            if self.groups > 1 and source < len(self.leaving):
                rest, stride = state[:, width:], self.strides[source]
                rests.append(rest if stride == 1 else F.max_pool2d(rest, stride, stride, ceil_mode=True))
        return torch.cat(states[2:], 1)

    @torch.no_grad()
    def _read(self, operations: Tensor | tuple[Chosen, ...], inputs: Tensor | None) -> None:
        cell, space = self.cell, self.cell.space
        edges: list[Any] = list(cell.edges)
        pointwise: Any = cell.inputs[1]
        self.groups, self.width = edges[0].partial_channels, edges[0].width
        self.inputs = [_input(module) for module in cell.inputs]
        weights, present = _shares(space.operations, operations, like=pointwise[1].weight)
        # Edges without any operation are left out, with the channels that pass by.
        there = weights.new_tensor([isinstance(row, Tensor) or any(row) for row in operations])
        factors = there if inputs is None else there * inputs
        self.passing: list[float] = factors.tolist()
        self.strides = []
        for source in range(max(space.targets)):
            out = [at for at, edge in enumerate(space.edges) if edge[0] == source]
            rows = [present[at] for at in out]
            self.strides.append(edges[out[0]].stride)
            made = FusedEdges(
                space.operations, [edges[at].operations for at in out], weights[out] * factors[out, None], rows,
                channels=self.width, act=pointwise[0],
            ) if any(map(any, rows)) else None  # fmt: skip
            self.leaving.append(made)

    def _passing(self, rests: Sequence[Tensor], node: int) -> Tensor:
        """sum over the edges into a node, of the channels that pass by."""
        part = self.cell.space.incoming[node]
        there = [at for at in range(part.start, part.stop) if self.passing[at]]
        terms = [(rests[self.cell.space.edges[at][0]], self.passing[at]) for at in there]
        total = terms[0][0] * terms[0][1]
        for rest, factor in terms[1:]:
            total = total.add(rest, alpha=factor)
        return total


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
    cells = _cells(network)
    if not cells:
        return "it has no mixed cells"
    for cell in cells:
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


def _shares(
    names: Sequence[str], operations: Tensor | tuple[Chosen, ...], *, like: Tensor
) -> tuple[Tensor, list[list[bool]]]:
    """The weight of each operation on each edge, and which are computed: `none` never is."""
    adds = [name != "none" for name in names]
    if isinstance(operations, Tensor):
        return operations, [adds] * len(operations)
    present = [[one and other for one, other in zip(row, adds, strict=True)] for row in operations]
    return like.new_tensor(operations), present


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
