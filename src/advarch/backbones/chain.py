"""A network as a chain of layers, and its blocks: successive layers whose maps have one size (NADAR, section 3.1)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

SIDE = 64
"""Of the images that are sent through a network to see the sizes of its maps: halved six times, they still have a pixel."""


class Chain(NamedTuple):
    """classify(layers[-1](...layers[0](stem(images)))): what a network does, in parts that are the network's own."""

    stem: Callable[[Tensor], Tensor]
    layers: Sequence[nn.Module]
    classify: Callable[[Tensor], Tensor]


@runtime_checkable
class Chained(Protocol):
    """A network that says what it is a chain of."""

    def chain(self) -> Chain:
        """Stem, layers and classifier; called after the stem, the layers and the classifier give what the network gives."""


class Block(NamedTuple):
    """The layers of one resolution, the channels of their last map, and whether they halve the one they are given."""

    layers: slice
    channels: int
    halves: bool


class Split(NamedTuple):
    """Channels that the stem puts out, and the blocks."""

    channels: int
    blocks: tuple[Block, ...]


def split(network: nn.Module, in_channels: int) -> Split:
    """The blocks of a network, found by sending an image through it on the meta device.

    Args:
        network: chained, in any mode; it is left as found.
        in_channels: channels of the images.

    Raises:
        ValueError: a network that is no chain, or a layer that does more to its map than to halve it.
    """
    if not isinstance(network, Chained):
        raise ValueError(
            f"base: expected a network that is a chain of layers, came {type(network).__name__}; "
            "give it a method chain, or choose another, as in backbone@backbone.base=wide_resnet"
        )
    shapes = _shapes(network, in_channels)
    sides = [shape[-1] for shape in shapes]
    for before, after in pairwise(sides):
        if after not in (before, (before + 1) // 2):
            raise ValueError(
                f"base: expected layers that keep or halve a map, came {before} to {after} pixels"
            )
    starts = [number for number in range(len(sides) - 1) if number == 0 or sides[number + 1] != sides[number]]
    ends = [*starts[1:], len(sides) - 1]
    blocks = tuple(
        Block(slice(start, end), shapes[end][1], sides[start + 1] != sides[start])
        for start, end in zip(starts, ends, strict=True)
    )
    return Split(shapes[0][1], blocks)


def sides(network: nn.Module, parts: Split, in_channels: int, side: int) -> list[int]:
    """Pixels in a row of the map that each block is given, when the images are squares of `side` pixels.

    Args:
        network: as it was split; it is left as found.
        parts: its blocks.
        in_channels: channels of the images.
        side: of the images.
    """
    given = [_shapes(network, in_channels, side)[0][-1]]
    for block in parts.blocks[:-1]:
        given.append((given[-1] + 1) // 2 if block.halves else given[-1])
    return given


def _shapes(network: nn.Module, in_channels: int, side: int = SIDE) -> list[torch.Size]:
    """Of the map that the first layer is given, then of those that the layers put out."""
    assert isinstance(network, Chained)
    state = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    layers = network.chain().layers
    seen: list[torch.Size] = []
    hooks = [layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))]
    hooks += [layer.register_forward_hook(lambda *call: seen.append(call[2].shape)) for layer in layers]
    training = [(module, module.training) for module in network.modules()]
    network.eval()
    dtype = next((tensor.dtype for tensor in state.values() if tensor.is_floating_point()), None)
    functional_call(network, state, (torch.empty(1, in_channels, side, side, device="meta", dtype=dtype),))
    for hook in hooks:
        hook.remove()
    for module, flag in training:
        module.training = flag
    return seen
