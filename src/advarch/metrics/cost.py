"""What a network costs: exact parameters, and multiply-adds of one forward pass."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from advarch.records import Size


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
    training = [module.training for module in model.modules()]
    counter = FlopCounterMode(display=False)
    try:
        model.eval()
        with torch.no_grad(), counter:
            model(torch.zeros(1, *image_shape, device=device))
    finally:
        for module, flag in zip(model.modules(), training, strict=True):
            module.training = flag
    return counter.get_total_flops() // 2


def size(build: Callable[[], nn.Module], image_shape: tuple[int, int, int]) -> Size:
    """Parameters and multiply-adds of a network that is only ever built on the meta device: no memory, no arithmetic."""
    with torch.device("meta"):
        model = build()
    return Size(parameters(model), macs(model, image_shape))
