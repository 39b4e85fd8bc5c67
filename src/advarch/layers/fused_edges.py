"""Edges of a supernet under attack, computed together: in eval mode all that follows an edge's last activation is linear."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.genotype.operations import OPERATIONS
from advarch.layers.frozen import Depthwise


class State(NamedTuple):
    """What edges read: a state, the state activated, and that as many times side by side as edges leave it."""

    plain: Tensor
    active: Tensor
    repeated: Tensor


class Linear(NamedTuple):
    """Operations of one kind as feature maps and what is linear behind them.

    feature: state -> features, the same for all of the operations where `shared`, else those of each side by side.
    mixer: (operations, c, features of one).
    shift: (operations, c).
    """

    feature: Callable[[State], Tensor]
    mixer: Tensor
    shift: Tensor
    shared: bool


class FusedEdges:
    """sum_o w_eo o_e(x) for all edges e that leave one state, at fixed weights: (n, c, h, w) -> (n, edges * c, h', w').

    Convolutions of one kind run side by side, poolings once for all edges, and what is linear behind them is one 1x1
    convolution: the operations' last ones, batch normalisation, the weights and the sum.

    Args:
        names: of the candidates.
        edges: the candidates of each edge, all of one stride and on running statistics.
        weights: w, (edges, candidates).
        channels: c.
        act: their activation.
    """

    def __init__(
        self,
        names: Sequence[str],
        edges: Sequence[Any],
        weights: Tensor,
        *,
        channels: int,
        act: nn.Module,
    ) -> None:
        self.count, self.act = len(edges), act
        self.features, mixers = [], []
        shift = weights.new_zeros(len(edges), channels)
        ones = torch.ones_like(shift)
        for at, name in enumerate(names):
            if name == "none":
                continue
            made = _MAKERS[OPERATIONS[name].family]([edge[at] for edge in edges], ones)
            factors = weights[:, at, None]
            mixer = made.mixer * factors[:, :, None]
            self.features.append(made.feature)
            mixers.append(mixer.flatten(0, 1) if made.shared else torch.block_diag(*mixer))
            shift += made.shift * factors
        self.mixer, self.shift = torch.cat(mixers, 1)[:, :, None, None], shift.flatten()

    def __call__(self, x: Tensor) -> Tensor:
        active = self.act(x)
        state = State(x, active, torch.cat([active] * self.count, 1))
        features = [feature(state) for feature in self.features]
        return F.conv2d(torch.cat(features, 1), self.mixer, self.shift)


def normalisation(norms: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """g / s and h - m g / s, s = sqrt(v + eps), of norms of one width in eval mode, each (norms, channels).

    m and v are the running mean and variance, g and h the scale and shift.
    """
    scale = (_stacked(norm.running_var for norm in norms) + norms[0].eps).rsqrt()
    if norms[0].affine:
        scale = scale * _stacked(norm.weight for norm in norms)
    shift = -scale * _stacked(norm.running_mean for norm in norms)
    return scale, shift + _stacked(norm.bias for norm in norms) if norms[0].affine else shift


def halves(x: Tensor) -> Tensor:
    """Even and odd pixels side by side, as `FactorizedReduce` reads them: (n, c, h, w) -> (n, 2 c, ceil(h / 2), ceil(w / 2))."""
    height, width = x.shape[-2:]
    shifted = F.pad(x, (0, width % 2, 0, height % 2)) if width % 2 or height % 2 else x
    return torch.cat([x[:, :, ::2, ::2], shifted[:, :, 1::2, 1::2]], 1)


def reduction(ops: Sequence[Any]) -> Linear:
    """`FactorizedReduce`s of one state."""
    scale, shift = normalisation([op.norm for op in ops])
    mixer = _stacked(torch.block_diag(op.even.weight.flatten(1), op.odd.weight.flatten(1)) for op in ops)
    return Linear(lambda state: halves(state.active), mixer * scale[:, :, None], shift, shared=True)


def _skip(ops: Sequence[Any], ones: Tensor) -> Linear:
    if isinstance(ops[0], nn.Identity):
        return Linear(lambda state: state.plain, torch.diag_embed(ones), 0 * ones, shared=True)
    return reduction(ops)


def _pool(ops: Sequence[Any], ones: Tensor) -> Linear:
    pool, scale, shift = ops[0], ones, 0 * ones
    if isinstance(pool, nn.Sequential):
        pool, (scale, shift) = pool[0], normalisation([op[1] for op in ops])
    return Linear(lambda state: pool(state.plain), torch.diag_embed(scale), shift, shared=True)


def _dilated(ops: Sequence[Any], ones: Tensor) -> Linear:
    del ones
    return _depthwise(ops, lambda state: state.repeated)


def _separable(ops: Sequence[Any], ones: Tensor) -> Linear:
    first = _dilated([op[:4] for op in ops], ones)
    inner, shift = first.mixer.flatten(0, 1)[:, :, None, None], first.shift.flatten()

    def between(state: State) -> Tensor:
        return ops[0][4](F.conv2d(first.feature(state), inner, shift, groups=len(ops)))

    return _depthwise([op[4:] for op in ops], between)


def _depthwise(steps: Sequence[Any], before: Callable[[State], Tensor]) -> Linear:
    """A depthwise convolution, a 1x1 convolution and a normalisation of each operation, on the maps that `before` gives it."""
    like, weight = steps[0][1], torch.cat([step[1].weight for step in steps])
    scale, shift = normalisation([step[3] for step in steps])
    mixer = _stacked(step[2].weight.flatten(1) for step in steps) * scale[:, :, None]

    def feature(state: State) -> Tensor:
        return Depthwise.apply(before(state), weight, None, like.stride[0], like.dilation[0])

    return Linear(feature, mixer, shift, shared=False)


_MAKERS: dict[str, Callable[[Sequence[Any], Tensor], Linear]] = {
    "separable": _separable,
    "dilated": _dilated,
    "pool": _pool,
    "skip": _skip,
}


def _stacked(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(tensors))
