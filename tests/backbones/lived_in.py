"""A network in which no normalisation is the identity that it begins as."""

import torch
from torch import nn


def lived_in(net: nn.Module) -> nn.Module:
    """The network with statistics, scales and shifts as a training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.copy_(0.3 * torch.randn(norm.num_features, generator=generator))
            norm.running_var.copy_(0.5 + torch.rand(norm.num_features, generator=generator))
            if norm.affine:
                nn.init.normal_(norm.weight, 1.0, 0.3, generator=generator)
                nn.init.normal_(norm.bias, 0.0, 0.3, generator=generator)
    return net.train()
