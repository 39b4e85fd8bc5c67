"""Which networks may not lie in memory as (batch, height, width, channel)."""

from torch import nn


def unsafe_convolution(model: nn.Module) -> str | None:
    """Name and channels of a convolution on which torch corrupts memory in channels_last on a CPU; None: there is none.

    Measured with torch 2.15 and glibc's heap checks: the backward pass of a strided 1x1 convolution with fewer than 8 input
    channels writes past its memory in that layout; with 8 and more, or another kernel or stride, nothing was found.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1 and max(module.kernel_size) == 1:
            channels = module.in_channels // module.groups
            if channels < 8:
                return f"{name} is a strided 1x1 convolution of {channels} channels"
    return None
