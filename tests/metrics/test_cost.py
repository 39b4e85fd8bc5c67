"""Parameters and multiply-adds against counts by hand; the network is left as found."""

from functools import partial

import pytest
import torch
from torch import nn

from advarch.metrics.cost import macs, parameters, size
from advarch.records import Size

# A network, its image, and per layer: output numbers times multiply-adds of one.
COUNTS = {
    "3x3, padding 1": (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 8 * 10 * 12 * (3 * 9)),
    "stride 2 on an odd map": (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 9, 11), 8 * 5 * 6 * (3 * 9)),
    "no padding, 5x2": (nn.Conv2d(2, 4, (5, 2)), (2, 10, 10), 4 * 6 * 9 * (2 * 10)),
    "dilation": (nn.Conv2d(2, 4, 3, dilation=2), (2, 10, 10), 4 * 6 * 6 * (2 * 9)),
    "groups": (nn.Conv2d(8, 12, 3, groups=4, padding=1), (8, 6, 6), 12 * 36 * (2 * 9)),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8, padding=1), (8, 6, 6), 8 * 36 * 9),
    "bias counts nothing": (nn.Conv2d(3, 8, 1, bias=False), (3, 4, 4), 8 * 16 * 3),
    "linear": (nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), (3, 4, 4), 48 * 5),
    "two layers": (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 7, bias=False)),
        (1, 8, 8),
        4 * 36 * 9 + 144 * 7,
    ),
    "norms, activations and pooling count nothing": (
        nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        (3, 8, 8),
        0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_multiply_adds_are_those_counted_by_hand(name: str) -> None:
    net, image, expected = COUNTS[name]
    assert macs(net, image) == expected
    assert macs(net.to("cpu", torch.float64).float(), image) == expected


def test_a_layer_used_twice_counts_twice_in_work_and_once_in_parameters() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert macs(net, (2, 5, 5)) == 2 * (2 * 25 * 18)
    assert parameters(net) == 2 * 2 * 9 + 2


def test_parameters_are_the_learnable_numbers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, groups=1), nn.BatchNorm2d(8), nn.Linear(8, 5))
    assert parameters(net) == (3 * 8 * 9 + 8) + (8 + 8) + (8 * 5 + 5)
    net[0].bias.requires_grad_(False)
    assert parameters(net) == 3 * 8 * 9 + 16 + 45


def mixed() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 2)
    ).train()
    net[1].eval()
    return net


def test_flags_statistics_and_gradients_are_left_as_found() -> None:
    net = mixed()
    before = [m.training for m in net.modules()]
    buffers = [b.clone() for b in net.buffers()]
    macs(net, (1, 8, 8))
    assert [m.training for m in net.modules()] == before
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), buffers, strict=True))
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_flags_are_restored_when_the_image_does_not_fit() -> None:
    net = mixed()
    before = [m.training for m in net.modules()]
    with pytest.raises(RuntimeError):
        macs(net, (3, 8, 8))
    assert [m.training for m in net.modules()] == before


def test_a_network_too_large_for_any_memory_is_counted_on_the_meta_device() -> None:
    def build() -> nn.Module:
        net = nn.Sequential(nn.Conv2d(3, 10**6, 3, padding=1), nn.Conv2d(10**6, 10**6, 1))
        assert all(p.is_meta for p in net.parameters())
        return net

    found = size(build, (3, 32, 32))
    assert found == Size(27 * 10**6 + 10**6 + 10**12 + 10**6, 1024 * (27 * 10**6 + 10**12))


def test_the_meta_device_counts_as_any_other() -> None:
    build = partial(nn.Conv2d, 3, 8, 3, stride=2, groups=1)
    assert size(build, (3, 9, 9)) == Size(parameters(build()), macs(build(), (3, 9, 9)))
    assert torch.get_default_device().type == "cpu"
