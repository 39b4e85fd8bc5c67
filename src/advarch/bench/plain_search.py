"""An adversarial PC-DARTS search step as one would write it from the published code: the peer of ours."""

import copy
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from advarch.backbones.supernet import MixedCell, Supernet
from advarch.bench.peers import naive_pgd
from advarch.bench.steps import EPS, STEP_SIZE, make_optimizer
from advarch.layers.mixed_op import MixedOperation
from advarch.types import Batch

make_arch_optimizer = partial(Adam, lr=6e-4, betas=(0.5, 0.999), weight_decay=1e-3)
"""PC-DARTS' optimizer of the architecture (Xu et al. 2020, section 4.2)."""


class PlainMixedOp(nn.Module):
    """PC-DARTS' mixed operation: every candidate on the first channels, `none` among them, their weighed sum, concatenate, shuffle.

    Args:
        edge: whose candidates and weights these are.
    """

    def __init__(self, edge: MixedOperation) -> None:
        super().__init__()
        self.operations = edge.operations
        self.groups, self.width, self.stride = edge.partial_channels, edge.width, edge.stride
        self.pool = nn.MaxPool2d(2, 2)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        first, rest = x[:, : self.width], x[:, self.width :]
        mixed = sum(weight * op(first) for weight, op in zip(weights, self.operations, strict=True))
        assert isinstance(mixed, Tensor)
        whole = torch.cat([mixed, rest if self.stride == 1 else self.pool(rest)], dim=1)
        count, channels, height, width = whole.shape
        dealt = whole.view(count, self.groups, channels // self.groups, height, width).transpose(1, 2)
        return dealt.contiguous().view(count, channels, height, width)


def plain(supernet: Supernet) -> Supernet:
    """A copy with the same weights whose edges are `PlainMixedOp`s."""
    copied = copy.deepcopy(supernet)
    for cell in copied.cells:
        assert isinstance(cell, MixedCell)
        cell.edges = nn.ModuleList(
            PlainMixedOp(edge) for edge in cell.edges if isinstance(edge, MixedOperation)
        )
    return copied


def plain_step(
    supernet: Supernet, weights: Batch, arch: Batch, *, steps: int, grad_clip: float
) -> Callable[[], tuple[Tensor, Tensor]]:
    """First order: architecture on its half, then weights on theirs, both by PGD-AT with `backward()` through everything.

    The returned function takes a step and returns the losses of architecture and weights.
    """
    optimizer = make_optimizer(supernet.weights())
    arch_optimizer = make_arch_optimizer(supernet.arch.parameters())

    def loss(batch: Batch) -> Tensor:
        supernet.eval()
        x_adv = naive_pgd(supernet, batch.x, batch.y, eps=EPS, step_size=STEP_SIZE, steps=steps)
        supernet.train()
        optimizer.zero_grad()
        arch_optimizer.zero_grad()
        found = F.cross_entropy(supernet(x_adv), batch.y)
        found.backward()
        return found.detach()

    def step() -> tuple[Tensor, Tensor]:
        loss_arch = loss(arch)
        arch_optimizer.step()
        loss_weights = loss(weights)
        nn.utils.clip_grad_norm_(supernet.weights(), grad_clip)
        optimizer.step()
        return loss_arch, loss_weights

    return step
