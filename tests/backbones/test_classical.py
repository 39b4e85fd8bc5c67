"""ResNets, PreAct, VGG, DenseNet, MobileNetV2 and timm against torchvision, plain references and counts by hand."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet as TorchvisionDenseNet
from torchvision.models.mobilenetv2 import (
    InvertedResidual as TorchvisionInvertedResidual,
)
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.models.vgg import make_layers

from advarch.backbones.densenet import DenseNet
from advarch.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2
from advarch.backbones.preact_resnet import PreActResNet
from advarch.backbones.resnet import Padding, ResNet
from advarch.backbones.timm import timm_network
from advarch.backbones.vgg import VGG
from advarch.backbones.wide_resnet import WideResNet
from advarch.layers.denoising import Denoising
from advarch.layers.initialisation import he_fan_out
from advarch.metrics.cost import macs, parameters, size

FULL = (64, 128, 256, 512)
BASIC = partial(ResNet, channels=FULL)
BOTTLENECK = partial(ResNet, channels=FULL, block="bottleneck", expansion=4)


def images(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(mine: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Equal outputs and gradients, in training and evaluation, with the other's weights in the same order."""
    mine, theirs = mine.double(), theirs.double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(7)
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    values = list(theirs.state_dict().values())
    keys = list(mine.state_dict())
    assert [value.shape for value in values] == [value.shape for value in mine.state_dict().values()]
    mine.load_state_dict(dict(zip(keys, values, strict=True)))
    for training in (True, False):
        outputs = []
        for network in (mine.train(training), theirs.train(training)):
            image = x.clone().requires_grad_()
            out = network(image)
            gradients = torch.autograd.grad(out.square().sum(), [image, *network.parameters()])
            outputs.append((out, gradients[0], sum(gradient.square().sum() for gradient in gradients)))
        for one, other in zip(*outputs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


# Against other implementations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "grouped"])
def test_a_resnet_with_imagenet_s_stem_is_torchvision_s(kind: str) -> None:
    mine: dict[str, dict] = {
        "basic": {"block": "basic"},
        "bottleneck": {"block": "bottleneck", "expansion": 4},
        "grouped": {"block": "bottleneck", "expansion": 2, "groups": 4},
    }
    theirs: dict[str, Callable] = {
        "basic": partial(TorchvisionResNet, BasicBlock, [2, 1, 1, 1]),
        "bottleneck": partial(TorchvisionResNet, Bottleneck, [2, 1, 1, 1]),
        # 4 groups of 32: inner channels 128, 256, ... and four times 64, 128, ... out of them, which is twice as many.
        "grouped": partial(TorchvisionResNet, Bottleneck, [2, 1, 1, 1], groups=4, width_per_group=32),
    }
    channels = [2 * c for c in FULL] if kind == "grouped" else FULL
    build = partial(
        ResNet,
        classes=7,
        in_channels=3,
        depths=[2, 1, 1, 1],
        channels=channels,
        stem="imagenet",
        **mine[kind],
    )
    same(seeded(build), seeded(partial(theirs[kind], num_classes=7)), images(2, 3, 40, 33))


def test_a_densenet_with_imagenet_s_stem_is_torchvision_s() -> None:
    build = partial(
        DenseNet, classes=7, in_channels=3, depths=[2, 3], channels=[16, 16], growth=8, stem="imagenet"
    )
    theirs = partial(TorchvisionDenseNet, 8, (2, 3), 16, num_classes=7)
    same(seeded(build), seeded(theirs), images(2, 3, 40, 33))


def test_a_preact_resnet_is_a_wide_resnet_of_the_same_channels() -> None:
    # Another class of ours, itself held against a plain reference.
    build = partial(PreActResNet, classes=4, in_channels=3, depths=[2, 1, 2], channels=[16, 32, 64])
    theirs = partial(WideResNet, classes=4, in_channels=3, depths=[2, 1, 2], widths=[1, 1, 1])
    same(seeded(build), seeded(theirs), images(2, 3, 9, 12))


def test_vgg_s_features_are_torchvision_s() -> None:
    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = make_layers([8, "M", 16, 16, "M"], batch_norm=True)
            self.head = nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x).mean((2, 3)))

    build = partial(VGG, classes=5, in_channels=3, channels=[[8], [16, 16]])
    same(seeded(build), seeded(Theirs), images(2, 3, 16, 12))


@pytest.mark.parametrize(("out", "stride"), [(8, 1), (8, 2), (12, 2)])
def test_an_inverted_residual_is_torchvision_s_where_nothing_is_projected(out: int, stride: int) -> None:
    # ReLU6 and ReLU agree on what stays below 6, as normalised numbers this small do.
    mine = seeded(lambda: InvertedResidual(8, out, 6, stride, "relu"))
    theirs = seeded(lambda: TorchvisionInvertedResidual(8, out, stride, 6))
    same(mine, theirs, images(2, 8, 6, 7))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (partial(BASIC, depths=[2, 2, 2, 2], stem="imagenet"), "resnet18"),
        (partial(BASIC, depths=[3, 4, 6, 3], stem="imagenet"), "resnet34"),
        (partial(BOTTLENECK, depths=[3, 4, 6, 3], stem="imagenet"), "resnet50"),
        (partial(BOTTLENECK, depths=[3, 4, 23, 3], stem="imagenet"), "resnet101"),
        (partial(BOTTLENECK, depths=[3, 8, 36, 3], stem="imagenet"), "resnet152"),
        (partial(DenseNet, depths=[6, 12, 24, 16], channels=FULL, stem="imagenet"), "densenet121"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_imagenet_s_forms_have_torchvision_s_layers(build: Callable, name: str) -> None:
    with torch.device("meta"):
        mine, theirs = build(classes=1000, in_channels=3), torchvision.models.get_model(name)
    assert [value.shape for value in mine.state_dict().values()] == [
        value.shape for value in theirs.state_dict().values()
    ]
    assert macs(mine, (3, 224, 224)) == macs(theirs, (3, 224, 224))


# Against a plain reference -------------------------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    """Batch normalisation in training with scale 1 and shift 0."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt()


def test_a_cifar_resnet_equals_its_definition() -> None:
    build = partial(
        ResNet, classes=4, in_channels=3, depths=[1, 2], channels=[4, 6], stem_channels=4, shortcut="pad"
    )
    net = seeded(build).double().train()
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]
    x = images(3, 3, 9, 8)
    y = F.relu(norm(F.conv2d(x, weights[0], padding=1)))
    for block, stride in enumerate((1, 2, 1)):
        first, second = weights[1 + 2 * block : 3 + 2 * block]
        inner = F.relu(norm(F.conv2d(y, first, stride=stride, padding=1)))
        side = y
        if stride == 2:
            side = torch.zeros(3, 6, 5, 4, dtype=torch.float64)
            side[:, :4] = y[:, :, ::2, ::2]
        y = F.relu(norm(F.conv2d(inner, second, padding=1)) + side)
    expected = y.mean((2, 3)) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(x), expected, rtol=1e-10, atol=1e-10)


def test_a_projecting_inverted_residual_adds_the_normalised_projection() -> None:
    block = seeded(lambda: InvertedResidual(4, 6, 1, 1, "relu")).double().train()
    expand, depthwise, reduce, project = (m.weight for m in block.modules() if isinstance(m, nn.Conv2d))
    x = images(3, 4, 5, 6)
    y = F.relu(norm(F.conv2d(x, expand)))
    y = F.relu(norm(F.conv2d(y, depthwise, padding=1, groups=4)))
    expected = norm(F.conv2d(y, reduce)) + norm(F.conv2d(x, project))
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)


def test_denoising_equals_its_definition_summed_place_by_place() -> None:
    block = seeded(lambda: Denoising(4)).double().eval()
    with torch.no_grad():
        for module in (block.theta, block.phi):
            module.weight *= 100
        block.norm.weight.fill_(2.0)
    x = images(2, 4, 3, 2)
    theta, phi, mix = (m.weight.detach()[:, :, 0, 0] for m in (block.theta, block.phi, block.mix))
    expected = x.clone()
    for image in range(2):
        places = [x[image, :, i, j] for i in range(3) for j in range(2)]
        for at, here in enumerate(places):
            scores = [float((theta @ here) @ (phi @ there)) / math.sqrt(2) for there in places]
            total = sum(math.exp(score) for score in scores)
            mean = sum(math.exp(score) / total * there for score, there in zip(scores, places, strict=True))
            expected[image, :, at // 2, at % 2] += 2 * (mix @ mean) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)


def test_denoising_stands_behind_each_stage_and_changes_nothing_at_first() -> None:
    build = partial(ResNet, classes=4, in_channels=3, depths=[2, 1], channels=[8, 16], stem_channels=8)
    net = seeded(partial(build, denoise=True)).eval()
    assert [[isinstance(m, Denoising) for m in stage] for stage in net.stages] == [
        [False, False, True],
        [False, True],
    ]
    plain = seeded(build).eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if k in plain.state_dict()})
    x = images(2, 3, 8, 8).float()
    assert torch.equal(net(x), plain(x))
    embeddings = [m.theta.weight for m in net.modules() if isinstance(m, Denoising)]
    assert all(abs(float(weight.std()) / 0.01 - 1) < 0.4 for weight in embeddings)


def test_a_padding_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    x = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    y = Padding(2, 2)(x)
    assert y.shape == (2, 5, 3, 2)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2]) and not y[:, 3:].any()


@pytest.mark.parametrize("groups", [1, 4, 32])
def test_convolutions_are_drawn_with_variance_two_over_the_fan_out_of_a_group(groups: int) -> None:
    layer = nn.Conv2d(64, 96 if groups < 32 else 64, 3, groups=groups)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        he_fan_out(nn.Sequential(layer))
    variance = 2 / (9 * layer.out_channels / groups)
    count = layer.weight.numel()
    assert abs(float(layer.weight.detach().double().var()) / variance - 1) < 5 * math.sqrt(2 / count)
    assert not layer.bias.any()


# Counted by hand -----------------------------------------------------------------------------------------------------------


def convolution(sides: int, kernel: int, given: int, out: int, groups: int = 1) -> int:
    """Multiply-adds: places of the output times kernel places times channels of a group times output channels."""
    return sides * sides * kernel * kernel * given // groups * out


def vgg(stages: Sequence[Sequence[int]]) -> int:
    total, given, sides = 0, 3, 32
    for stage in stages:
        for out in stage:
            total += convolution(sides, 3, given, out)
            given = out
        sides //= 2
    return total + given * 10


def bottlenecks(depths: Sequence[int], inner: Sequence[int], expansion: int, groups: int, stem: int) -> int:
    total, given, sides = convolution(32, stem, 3, 64), 64, 32
    for stage, (depth, middle) in enumerate(zip(depths, inner, strict=True)):
        out = middle * expansion
        for block in range(depth):
            total += convolution(sides, 1, given, middle)
            if stage > 0 and block == 0:
                sides //= 2
            total += convolution(sides, 3, middle, middle, groups) + convolution(sides, 1, middle, out)
            if block == 0:
                total += convolution(sides, 1, given, out)
            given = out
    return total + given * 10


def densenet(depths: Sequence[int], inputs: Sequence[int]) -> int:
    total, sides, width = convolution(32, 3, 3, inputs[0]), 32, inputs[0]
    for block, (depth, given) in enumerate(zip(depths, inputs, strict=True)):
        if block > 0:
            total += convolution(sides, 1, width, given)
            sides, width = sides // 2, given
        for _ in range(depth):
            total += convolution(sides, 1, width, 128) + convolution(sides, 3, 128, 32)
            width += 32
    return total + width * 10


def mobilenet() -> int:
    total, given, sides = convolution(32, 3, 3, 32), 32, 32
    for expansion, out, depth, stride in (
        (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    ):  # fmt: skip
        for block in range(depth):
            inner = expansion * given
            total += convolution(sides, 1, given, inner)
            if block == 0:
                sides //= stride
            total += convolution(sides, 3, inner, inner, inner) + convolution(sides, 1, inner, out)
            if block == 0 and stride == 1:
                total += convolution(sides, 1, given, out)
            given = out
    return total + convolution(sides, 1, given, 1280) + 1280 * 10


RESNEXT = partial(
    ResNet, depths=[3, 3, 3], channels=[128, 256, 512], block="bottleneck", expansion=2, groups=2, stem="pointwise"
)  # fmt: skip


@pytest.mark.parametrize(
    ("build", "by_hand"),
    [
        (partial(VGG, channels=[[64], [128], [256] * 2, [512] * 2, [205] * 2]), vgg([[64], [128], [256] * 2, [512] * 2, [205] * 2])),
        (partial(BOTTLENECK, depths=[3, 4, 6, 3]), bottlenecks([3, 4, 6, 3], FULL, 4, 1, 3)),
        (RESNEXT, bottlenecks([3, 3, 3], [128, 256, 512], 2, 2, 1)),
        (partial(DenseNet, depths=[6, 12, 24, 16], channels=[64, 128, 256, 205]), densenet([6, 12, 24, 16], [64, 128, 256, 205])),
        (MobileNetV2, mobilenet()),
    ],
    ids=["vgg11_r", "resnet50", "resnext29", "densenet121_r", "mobilenet_v2"],
)  # fmt: skip
def test_multiply_adds_are_those_counted_by_hand(build: Callable, by_hand: int) -> None:
    assert size(lambda: build(classes=10, in_channels=3), (3, 32, 32)).macs == by_hand


def test_feature_denoising_costs_two_embeddings_two_products_and_a_mix() -> None:
    places, channels = 6 * 5, 8
    embeddings = 2 * places * channels * (channels // 2)
    products = places * places * (channels // 2) + places * places * channels
    assert macs(Denoising(channels), (channels, 6, 5)) == embeddings + products + places * channels * channels
    assert parameters(Denoising(channels)) == 2 * 32 + 64 + 16


# What is refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (partial(ResNet, depths=[1, 1], channels=[8]), "channels: expected one number per stage, 2 as in depths, came 1"),
        (partial(ResNet, depths=[1], channels=[8], groups=2), "block: expected expansion 1 and groups 1 with basic blocks"),
        (partial(ResNet, depths=[1], channels=[9], block="bottleneck", groups=2), "groups: expected a divisor of every stage's"),
        (partial(PreActResNet, depths=[1, 1], channels=[8]), "channels: expected one number per stage"),
        (partial(DenseNet, depths=[1, 1], channels=[8]), "channels: expected one number per block"),
        (partial(VGG, channels=[[8]], activation="relue"), "activation: expected one of relu"),
        (partial(timm_network, name="resnt50"), "name: unknown timm network 'resnt50'; did you mean one of resnet50"),
        (partial(timm_network, name="resnet18", options={"depthz": 3}), "options: expected what resnet18 takes, came ['depthz']"),
        (partial(timm_network, name="vit_tiny_patch16_224", small_stem=True), "small_stem: vit_tiny_patch16_224 cuts the image"),
    ],
)  # fmt: skip
def test_bad_values_are_explained(build: Callable, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        build(classes=10, in_channels=3)
    assert said in str(raised.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_stem_keeps_the_map_of_a_timm_network(channels: int) -> None:
    net = timm_network(classes=5, in_channels=channels, name="resnet10t", small_stem=True).eval()
    own = timm_network(classes=5, in_channels=channels, name="resnet10t").eval()
    seen = []
    for network in (net, own):
        network.layer1.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[2:]))
        assert network(torch.rand(2, channels, 32, 32)).shape == (2, 5)
    assert [tuple(shape) for shape in seen] == [(32, 32), (8, 8)]


def test_timm_s_resnet_with_a_small_stem_has_the_layers_of_ours() -> None:
    with torch.device("meta"):
        theirs = timm_network(classes=10, in_channels=3, name="resnet18", small_stem=True)
        mine = BASIC(classes=10, in_channels=3, depths=[2, 2, 2, 2])
    assert [p.shape for p in theirs.parameters()] == [p.shape for p in mine.parameters()]
