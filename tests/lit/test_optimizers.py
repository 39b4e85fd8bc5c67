"""Weight decay on kernels only, against the update rule."""

import torch
from torch import nn

from advarch.backbones.wide_resnet import WideResNet
from advarch.layers.activations import SmoothReLU
from advarch.lit.optimizers import sgd_decay_kernels


def test_kernels_decay_and_what_has_one_dimension_does_not() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), SmoothReLU(), nn.PReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(2.0)
    optimizer = sgd_decay_kernels(net.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    velocity = {name: 0.0 for name, _ in net.named_parameters()}
    expected = dict.fromkeys(velocity, 2.0)
    for _ in range(3):
        for name, parameter in net.named_parameters():
            parameter.grad = torch.full_like(parameter, 0.25)
            decay = 0.1 if name in ("0.weight", "4.weight") else 0.0
            velocity[name] = 0.9 * velocity[name] + 0.25 + decay * expected[name]
            expected[name] -= 0.5 * velocity[name]
        optimizer.step()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, expected[name]))
    assert expected["0.weight"] < expected["0.bias"]


def test_every_parameter_of_a_network_is_in_one_group() -> None:
    net = WideResNet(classes=3, in_channels=1, depths=[1, 1, 1], widths=[1, 1, 1], activation="prelu")
    optimizer = sgd_decay_kernels(net.parameters(), lr=0.1, weight_decay=5e-4, nesterov=False)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())
    kernels, others = optimizer.param_groups
    assert kernels["weight_decay"] == 5e-4 and others["weight_decay"] == 0
    assert all(p.dim() in (2, 4) for p in kernels["params"]) and all(p.dim() <= 1 for p in others["params"])


def test_a_network_of_one_kind_has_one_group() -> None:
    (group,) = sgd_decay_kernels([torch.zeros(1, requires_grad=True)], lr=0.1, weight_decay=1.0).param_groups
    assert group["weight_decay"] == 0
