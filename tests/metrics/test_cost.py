"""Parameters and multiply-adds against counts by hand; the network is left as found."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advarch.backbones.densenet import DenseNet
from advarch.backbones.resnet import ResNet
from advarch.launch.memory import training_memory
from advarch.metrics.cost import activations, macs, measure, parameters, size
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
    measure(net, (1, 8, 8))
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
    kept = 4 * 1024 * (3 + 10**6)  # the image and the first layer's output; nothing reads the second's
    assert found == Size(27 * 10**6 + 10**6 + 10**12 + 10**6, 1024 * (27 * 10**6 + 10**12), activations=kept)


def test_the_meta_device_counts_as_any_other() -> None:
    build = partial(nn.Conv2d, 3, 8, 3, stride=2, groups=1)
    assert size(build, (3, 9, 9)) == measure(build(), (3, 9, 9))
    assert torch.get_default_device().type == "cpu"


def kept_by_autograd(net: nn.Module, x: Tensor) -> int:
    """Bytes of the different storages that a real forward pass leaves for its backward pass, the network's own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*net.parameters(), *net.buffers()]}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = net(x.requires_grad_())
    total = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    del logits
    return total


def small(**options: Any) -> nn.Module:
    return ResNet(
        classes=5, in_channels=3, depths=[1, 1], channels=[8, 16], stem_channels=8, **options
    ).train()


NETS = {
    "relu": small,
    "silu": partial(small, activation="silu"),
    "smooth_relu": partial(small, activation="smooth_relu"),
    "denoised": partial(small, denoise=True),
    "padded": partial(small, shortcut="pad"),
    "max-pool": partial(small, stem="imagenet"),
    "dense": lambda: DenseNet(classes=5, in_channels=3, depths=[2, 2], channels=[8, 8], growth=4).train(),
}


@pytest.mark.parametrize("name", NETS)
def test_activations_are_what_a_real_training_pass_keeps(name: str) -> None:
    net = NETS[name]()
    counted = activations(net, (3, 16, 12))
    assert counted == kept_by_autograd(net, torch.rand(2, 3, 16, 12)) // 2
    # What does not grow with the batch: statistics of batch normalisation, and the few numbers of SmoothReLU.
    statistics = 2 * 4 * sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert 8 * counted - kept_by_autograd(net, torch.rand(8, 3, 16, 12)) == pytest.approx(
        3 * statistics, abs=100
    )


def test_activations_counted_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30, 7)
    )
    # The image, what the norm reads, its mean and inverse deviation (for two images), and what ReLU gives, once.
    assert activations(net, (3, 5, 6)) == 4 * (3 * 30 + 4 * 30 + 2 * 4 // 2 + 4 * 30)


SGD, PLAIN_SGD = ({"_target_": "torch.optim.SGD", "momentum": momentum} for momentum in (0.9, 0.0))
DECAYING = {"_target_": "advarch.lit.optimizers.sgd_decay_kernels", "momentum": 0.9}


def loss(name: str) -> dict:
    return {"_target_": f"advarch.defenses.{name.lower()}.{name}"}


@pytest.mark.parametrize(
    ("optimizer", "defense", "averaging", "expected"),
    [
        (SGD, loss("natural"), None, 4 * 1000 * 3 + 64 * 500),
        (PLAIN_SGD, loss("pgd_at"), None, 4 * 1000 * 2 + 64 * 500),
        (DECAYING, loss("Free"), {"_target_": "advarch.lit.averaging.Swa"}, 4 * 1000 * 4 + 64 * 500),
        ({"_target_": "torch.optim.Adam"}, loss("trades"), None, 4 * 1000 * 4 + 2 * 64 * 500),
        (SGD, loss("kd"), None, 4 * 1000 * 5 + 64 * 500),
        (SGD, loss("AWP") | {"base": loss("pgd_at")}, None, 4 * 1000 * 4 + 64 * 500),
        (SGD, loss("AWP") | {"base": loss("mart")}, None, 4 * 1000 * 4 + 2 * 64 * 500),
        ({"_target_": "torch.optim.LBFGS"}, loss("natural"), None, None),
    ],
)
def test_training_memory_is_weights_gradients_states_copies_and_activations(
    optimizer: dict, defense: dict, averaging: dict | None, expected: int | None
) -> None:
    config = {"optimizer": optimizer, "defense": defense, "averaging": averaging, "dataset": {"batch_size": 64}}  # fmt: skip
    assert training_memory(config, Size(1000, 1, activations=500)) == expected
    assert training_memory(config, Size(1000, 1)) is None
