"""Initial weights that several networks share."""

import math

from torch import nn


def he_fan_out(network: nn.Module) -> None:
    """Draw every convolution's weight from N(0, 2 / (k^2 C_out / groups)), its bias 0 (He et al. 2015, Eq. 14).

    The fan-out of a grouped convolution is that of one group: an input channel feeds no other. Normalisations and linear
    layers keep what PyTorch gave them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            fan_out = height * width * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
