"""A copy of the network that is cheaper to attack: in eval mode the same function of the images, made of the same weights.

An attack asks the network 2K times and more while its weights stay. What depends on the weights alone is done once,
before the first question: batch normalisation is folded into the convolution before it, and under autocast weights are
cast. Activations that several layers ask of one map are computed once, and on CPUs layers whose weights are constants take
faster forms (`layers.frozen`). All else the copy shares with the network, and it is made anew from the weights for every
attack: nothing to save.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advarch.attacks.traced import hooked, module_at, traced
from advarch.layers.activations import PLAIN
from advarch.layers.frozen import (
    NORMS,
    Alone,
    FrozenDepthwise,
    FrozenNorm,
    FrozenReduction,
    Joint,
    joins,
    pays,
    stands_alone,
)
from advarch.layers.winograd import FrozenWide, wide

LAYERS = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Held:
    """A layer of the network, the normalisation behind it where it is folded in, and the layer that stands for both."""

    layer: nn.Conv2d | nn.Linear | Joint | Alone
    norm: _BatchNorm | None
    own: nn.Conv2d | nn.Linear | FrozenDepthwise | FrozenReduction | FrozenWide | FrozenNorm


class AttackCopy:
    """A network's copy in eval mode.

    Attributes:
        graph: images -> logits.
        held: the layers that are not the network's own.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype | None = None) -> None:
        """Trace the network in the state it is attacked in (`attack_mode`).

        Args:
            network: images -> logits.
            dtype: what autocast makes of weights; None leaves them as they are.
        """
        self.graph = traced(network)
        self.held = _hold(self.graph, dtype)
        _share(self.graph)
        _hold_norms(self.graph, self.held, dtype)
        self.graph.recompile()
        self.graph.eval()

    @property
    def folded(self) -> int:
        """How many batch normalisations are part of a convolution."""
        return sum(each.norm is not None and not isinstance(each.layer, Alone) for each in self.held)

    @property
    def faster(self) -> int:
        """How many layers have a form that is faster on a CPU."""
        return sum(type(each.own) not in LAYERS for each in self.held)

    @torch.no_grad()
    def refresh(self) -> nn.Module:
        """`graph` with the network's weights and statistics as they are now."""
        folded = [each for each in self.held if each.norm is not None]
        cast = [each for each in self.held if each.norm is None]
        own = [part for each in (*folded, *cast) for part in (each.own.weight, each.own.bias)]
        now = [*_folded(folded), *(part for each in cast for part in (each.layer.weight, each.layer.bias))]
        torch._foreach_copy_([part for part in own if part is not None], [p for p in now if p is not None])
        for each in self.held:
            if isinstance(each.own, FrozenWide):
                each.own.settle()
        return self.graph


def _hold(graph: fx.GraphModule, dtype: torch.dtype | None) -> list[Held]:
    """Put layers of the copy's own into the graph: where a norm can be folded in, a weight is cast, or a form is faster."""
    held, once = [], _called_once(graph)
    for node, module in once.items():
        layer: Any = module
        if type(module) in LAYERS:
            norm = _norm_behind(graph, node, once)
            if norm is None and dtype is None and not (pays(module) or wide(module, dtype)):
                continue
        elif joins(module) and not any(map(hooked, module.modules())):
            layer, norm = Joint(module), module.norm
            with graph.graph.inserting_before(node):
                node.args = (graph.graph.call_module(f"{node.target}.act", node.args),)
        else:
            continue
        held.append(Held(layer, norm, _own(layer, norm, dtype)))
        _put(graph, node, held)
    return held


def _called_once(graph: fx.GraphModule) -> dict[fx.Node, nn.Module]:
    """Modules that are called once and as they are. One that is called twice may have a norm behind one of the calls only."""
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    return {
        node: module
        for node in calls
        if times[node.target] == 1 and not node.kwargs and not hooked(module := module_at(graph, node))
    }


def _put(graph: fx.GraphModule, node: fx.Node, held: Sequence[Held]) -> None:
    """Have a node call the layer that was held last, under a name of its own: a part may be a module of the network's."""
    node.target = f"held_{len(held)}"
    graph.add_submodule(node.target, held[-1].own)


def _hold_norms(graph: fx.GraphModule, held: list[Held], dtype: torch.dtype | None) -> None:
    """The same for each normalisation that is left, with the ReLU that alone reads it."""
    for node, norm in _called_once(graph).items():
        if not stands_alone(norm, dtype):
            continue
        relu = _relu_behind(graph, node)
        if relu is not None:
            relu.replace_all_uses_with(node)
            graph.graph.erase_node(relu)
        alone = Alone(norm)
        held.append(Held(alone, norm, FrozenNorm(alone, relu is not None)))
        _put(graph, node, held)


def _relu_behind(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The ReLU that alone reads a node."""
    readers = list(node.users)
    if len(readers) != 1 or readers[0].op != "call_module":
        return None
    module = module_at(graph, readers[0])
    return readers[0] if type(module) is nn.ReLU and not hooked(module) else None


def _norm_behind(
    graph: fx.GraphModule, node: fx.Node, once: Mapping[fx.Node, nn.Module]
) -> _BatchNorm | None:
    """The normalisation that alone reads a convolution, taken out of the graph."""
    readers = list(node.users)
    if not isinstance(once[node], nn.Conv2d) or len(readers) != 1:
        return None
    norm = once.get(readers[0])
    # A class made of these may do more.
    if not isinstance(norm, NORMS) or type(norm) not in NORMS or norm.running_mean is None:
        return None
    readers[0].replace_all_uses_with(node)
    graph.graph.erase_node(readers[0])
    return norm


def _share(graph: fx.GraphModule) -> None:
    """Compute an activation once that several ask of one map, as the edges of a cell do that leave one state."""
    first: dict[Any, fx.Node] = {}
    for node in [node for node in graph.graph.nodes if node.op == "call_module"]:
        module: Any = module_at(graph, node)
        if type(module) not in PLAIN or hooked(module) or getattr(module, "inplace", False):
            continue
        kept = first.setdefault((type(module), module.extra_repr(), node.args), node)
        if kept is not node:
            node.replace_all_uses_with(kept)
            graph.graph.erase_node(node)


def _own(layer: Any, norm: _BatchNorm | None, dtype: torch.dtype | None) -> Any:
    """A layer that is the same function as that one, with the bias that a normalisation brings."""
    if isinstance(layer, Joint):
        own: Any = FrozenReduction(layer)
    else:
        form = FrozenDepthwise if pays(layer) else FrozenWide if wide(layer, dtype) else copy.deepcopy
        own = form(layer)
    own = own.to(dtype or layer.weight.dtype).requires_grad_(False)
    if norm is not None:
        own.bias = nn.Parameter(own.weight.new_empty(len(own.weight)), requires_grad=False)
    return own


def _folded(held: Sequence[Held]) -> list[Tensor]:
    """Of each convolution W, b with the norm behind it: W g / s and (b - m) g / s + h, s = sqrt(v + eps).

    m and v are the running mean and variance, g and h the scale and shift.
    """
    if not held:
        return []
    norms, layers = [each.norm for each in held if each.norm is not None], [each.layer for each in held]
    means, variances = zip(*((norm.running_mean, norm.running_var) for norm in norms), strict=True)
    scales: list[Tensor] = [
        torch.ones_like(v) if n.weight is None else n.weight for n, v in zip(norms, variances, strict=True)
    ]
    shifts: list[Tensor] = [
        torch.zeros_like(v) if n.bias is None else n.bias for n, v in zip(norms, variances, strict=True)
    ]
    offsets = [m if layer.bias is None else m - layer.bias for m, layer in zip(means, layers, strict=True)]
    deviations = torch._foreach_sqrt(torch._foreach_add(variances, [norm.eps for norm in norms]))
    factors = list(torch._foreach_div(scales, list(deviations)))
    biases = torch._foreach_sub(shifts, list(torch._foreach_mul(offsets, factors)))
    weights = [layer.weight * factor.view(-1, 1, 1, 1) for layer, factor in zip(layers, factors, strict=True)]
    return [part for pair in zip(weights, biases, strict=True) for part in pair]
