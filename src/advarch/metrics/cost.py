"""What a network costs: exact parameters, multiply-adds of one forward pass, and what training keeps of it in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from advarch.records import Size

PROBE = 2
"""Images of the counted training pass: the least that batch normalisation takes."""


def parameters(model: nn.Module) -> int:
    """Learnable numbers, each counted once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image's forward pass, in convolutions and matrix products only (torch's counter / 2).

    Args:
        model: a network, on any device, the meta device included.
        image_shape: (channel, height, width).
    """
    device = next(model.parameters()).device
    counter = FlopCounterMode(display=False)
    with _mode(model, training=False), torch.no_grad(), counter:
        model(torch.zeros(1, *image_shape, device=device))
    return counter.get_total_flops() // 2


def activations(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Bytes per image that a forward pass in training keeps for the backward pass to weights and image, in float32.

    The sum over the different storages among all tensors that autograd saves, without those of parameters and buffers, divided
    by the number of images. Counted on the meta device, where nothing is computed; the network is left as found.

    Args:
        model: a network, on any device.
        image_shape: (channel, height, width).
    """
    state = {
        name: p.detach().to("meta").requires_grad_(p.requires_grad) for name, p in model.named_parameters()
    }
    state |= {name: buffer.to("meta", copy=True) for name, buffer in model.named_buffers()}
    own = {tensor.untyped_storage()._cdata for tensor in state.values()}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            saved[key] = tensor
        return tensor

    x = torch.empty(PROBE, *image_shape, device="meta", requires_grad=True)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with _mode(model, training=True), hooks:
        functional_call(model, state, (x,))
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values()) // PROBE


def measure(model: nn.Module, image_shape: tuple[int, int, int]) -> Size:
    """Parameters, multiply-adds and activations of a network, on any device; it is left as found."""
    return Size(parameters(model), macs(model, image_shape), activations=activations(model, image_shape))


def size(build: Callable[[], nn.Module], image_shape: tuple[int, int, int]) -> Size:
    """The same of a network that is only ever built on the meta device: no memory, no arithmetic."""
    with torch.device("meta"):
        model = build()
    return measure(model, image_shape)


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Every module in training or in evaluation, and afterwards as it was."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, flag in before:
            module.training = flag
