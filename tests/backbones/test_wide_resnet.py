"""Wide residual networks: published sizes, a plain reference in double precision, the rules of shortcut, depth and width."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from advarch.backbones.normalised import normalised
from advarch.backbones.wide_resnet import WideResNet
from advarch.metrics.cost import size

# depths, widths, classes, parameters; multiply-adds of one 32x32 image in 10^9 (RobustWRN's appendix gives the rounded ones).
PUBLISHED = {
    "WRN-34-10": ((5, 5, 5), (10, 10, 10), 10, 46_160_474, 6.659),
    "d9-7-1": ((9, 7, 1), (10, 10, 10), 10, 22_193_754, 7.603),
    "w10-10-4": ((5, 5, 5), (10, 10, 4), 10, 17_050_970, 4.797),
    "gamma 0.25": ((5, 5, 5), (2.5, 2.5, 1), 10, 1_074_170, 0.305),
    "gamma 0.5": ((5, 5, 5), (5, 5, 2), 10, 4_273_818, 1.206),
    "gamma 1.5": ((5, 5, 5), (15, 15, 6), 10, 38_331_930, 10.772),
    "WRN-34-R": ((5, 5, 5), (20, 20, 8), 10, 68_116_698, 19.133),
    "WRN-34-R, 100 classes": ((5, 5, 5), (20, 20, 8), 100, 68_162_868, None),
    "WRN-34-12": ((5, 5, 5), (12, 12, 12), 10, 66_457_818, 9.582),
    "WRN-34-12, 100 classes": ((5, 5, 5), (12, 12, 12), 100, 66_527_028, None),
    "d9-9-9": ((9, 9, 9), (10, 10, 10), 10, 84_885_594, 12.321),
    "d5-5-1 w10-10-2": ((5, 5, 1), (10, 10, 2), 10, 11_474_522, 4.440),
    "d7-9-3 w10-10-4": ((7, 9, 3), (10, 10, 4), 10, 22_990_426, 7.477),
    "WRN-28-10": ((4, 4, 4), (10, 10, 10), 10, 36_479_194, 5.243),
}


def network(
    depths, widths, *, classes: int = 10, in_channels: int = 3, dropout: float = 0.0, seed: int = 0
) -> WideResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WideResNet(
            classes=classes, in_channels=in_channels, depths=depths, widths=widths, dropout=dropout
        )


def meta(depths, widths, classes: int = 10, in_channels: int = 3) -> WideResNet:
    with torch.device("meta"):
        return WideResNet(classes=classes, in_channels=in_channels, depths=depths, widths=widths)


def counted(depths, widths, classes: int, in_channels: int, height: int, width: int) -> tuple[int, int]:
    """Parameters and multiply-adds from the table of layers, without any network."""
    parameters, macs, channels = 9 * in_channels * 16, 9 * in_channels * 16 * height * width, 16
    for stage, (depth, multiplier) in enumerate(zip(depths, widths, strict=True)):
        out = round(16 * 2**stage * multiplier)
        for block in range(depth):
            halves = stage > 0 and block == 0
            if halves:
                height, width = math.ceil(height / 2), math.ceil(width / 2)
            weights = 9 * channels * out + 9 * out * out
            weights += channels * out if channels != out or halves else 0
            parameters, macs = parameters + weights + 2 * channels + 2 * out, macs + weights * height * width
            channels = out
    return parameters + 2 * channels + channels * classes + classes, macs + channels * classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str) -> None:
    depths, widths, classes, parameters, giga = PUBLISHED[name]
    found = size(
        partial(WideResNet, classes=classes, in_channels=3, depths=depths, widths=widths), (3, 32, 32)
    )
    assert found.parameters == parameters
    assert (found.parameters, found.macs) == counted(depths, widths, classes, 3, 32, 32)
    assert giga is None or round(found.macs / 1e9, 3) == giga


small_stages = st.tuples(*[st.integers(0, 3)] * 3).filter(any)
small_widths = st.tuples(*[st.sampled_from([0.25, 0.5, 1, 1.5, 2, 4])] * 3)


@given(
    small_stages,
    small_widths,
    st.integers(2, 7),
    st.sampled_from([1, 3]),
    st.tuples(*[st.integers(8, 40)] * 2),
)
@settings(max_examples=40, deadline=None)
def test_sizes_are_those_of_the_table_of_layers(depths, widths, classes: int, channels: int, image) -> None:
    build = partial(WideResNet, classes=classes, in_channels=channels, depths=depths, widths=widths)
    found = size(build, (channels, *image))
    assert (found.parameters, found.macs) == counted(depths, widths, classes, channels, *image)


@pytest.mark.parametrize(
    ("depths", "depth"), [((5, 5, 5), 34), ((4, 4, 4), 28), ((9, 7, 1), 38), ((1, 1, 1), 10)]
)
def test_depth_is_four_fixed_convolutions_and_two_a_block(depths, depth: int) -> None:
    convolutions = [m for m in meta(depths, (10, 10, 10)).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == depth
    assert sum(m.kernel_size == (3, 3) for m in convolutions) == 1 + 2 * sum(depths)
    assert sum(m.stride == (2, 2) for m in convolutions) == 4, (
        "two convolutions and two shortcuts halve the map"
    )


def reference(net: WideResNet, x: Tensor, depths, *, training: bool, activation=F.relu) -> Tensor:
    """The network as the paper's table has it, in plain functions of its weights."""
    w = dict(net.named_parameters())
    b = {name: value.clone() for name, value in net.named_buffers()}

    def norm_relu(x: Tensor, name: str) -> Tensor:
        statistics = (None, None) if training else (b[f"{name}.running_mean"], b[f"{name}.running_var"])
        return activation(F.batch_norm(x, *statistics, w[f"{name}.weight"], w[f"{name}.bias"], training))

    x = F.conv2d(x, w["stem.weight"], padding=1)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            activated = norm_relu(x, f"{name}.norm1")
            y = F.conv2d(activated, w[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(norm_relu(y, f"{name}.norm2"), w[f"{name}.conv2.weight"], padding=1)
            if y.shape[1] != x.shape[1]:
                x = F.conv2d(activated, w[f"{name}.shortcut.weight"], stride=stride)
            elif stride == 2:
                x = F.conv2d(x, w[f"{name}.shortcut.weight"], stride=2)
            x = x + y
    features = norm_relu(x, "norm").mean((2, 3))
    return features @ w["head.weight"].T + w["head.bias"]


def lively(net: WideResNet) -> WideResNet:
    """In double precision, with norms that are not the identity."""
    generator = torch.Generator().manual_seed(5)
    net = net.double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return net


CASES = {
    "all stages widen": ((1, 2, 1), (1, 1, 1)),
    "first stage widens": ((2, 1, 1), (2, 1.5, 1)),
    "only the stride changes, twice": ((1, 1, 2), (2, 1, 0.5)),
    "no shortcut but the stride's": ((1, 1, 1), (1, 0.5, 0.25)),
    "narrows": ((1, 1, 1), (2, 0.5, 1)),
    "no last stage": ((1, 2, 0), (1, 1, 1)),
    "no middle stage": ((1, 0, 1), (1, 1, 1)),
    "no first stage": ((0, 1, 1), (1, 1, 1)),
    "last stage alone": ((0, 0, 1), (1, 1, 0.25)),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradients_equal_a_plain_reference(name: str, training: bool) -> None:
    depths, widths = CASES[name]
    net = lively(network(depths, widths, classes=4)).train(training)
    x = torch.rand(3, 3, 9, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = reference(net, x, depths, training=training)
    gradients = torch.autograd.grad(expected.square().sum(), list(net.parameters()))
    found = net(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad(found.square().sum(), list(net.parameters())), gradients, strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


def test_another_activation_stands_at_every_place_of_relu() -> None:
    depths, widths = CASES["only the stride changes, twice"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = WideResNet(classes=4, in_channels=3, depths=depths, widths=widths, activation="silu")
    x = torch.rand(3, 3, 9, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = lively(net).train()(x)
    expected = reference(net, x, depths, training=True, activation=lambda z: z * torch.sigmoid(z))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["prelu", "smooth_relu"])
def test_learnable_activations_add_one_number_each_and_move_no_other_weight(name: str) -> None:
    plain = network((1, 2, 1), (1, 1, 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = WideResNet(classes=10, in_channels=3, depths=(1, 2, 1), widths=(1, 1, 1), activation=name)
    before, after = plain.state_dict(), net.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    # Two in each of four blocks and one before the head.
    assert sum(after[key].numel() for key in set(after) - set(before)) == 2 * 4 + 1


def test_the_shortcut_reads_activated_input_only_where_channels_change() -> None:
    net = network((1, 1, 1), (2, 1, 2))
    first, second, third = (stage[0] for stage in net.stages)
    assert first.shortcut.stride == (1, 1) and second.shortcut.stride == third.shortcut.stride == (2, 2)
    assert second.conv1.in_channels == second.conv1.out_channels == 32
    for block, activates in ((first, True), (second, False), (third, True)):
        block = lively(block)
        nn.init.zeros_(block.conv2.weight)  # leaves the shortcut alone
        x = torch.randn(2, block.conv1.in_channels, 8, 8, generator=torch.Generator().manual_seed(0)).double()
        block.eval()
        read = F.relu(block.norm1(x)) if activates else x
        other = x if activates else F.relu(block.norm1(x))
        assert torch.equal(block(x), block.shortcut(read))
        assert not torch.allclose(block(x), block.shortcut(other))


def test_equal_channels_and_stride_have_the_identity_as_shortcut() -> None:
    net = network((3, 2, 2), (1, 1, 1))
    projected = [block.shortcut is not None for stage in net.stages for block in stage]
    assert projected == [False, False, False, True, False, True, False]


@pytest.mark.parametrize(
    ("depths", "head", "halvings"), [((5, 5, 0), 32, 1), ((5, 0, 0), 16, 0), ((0, 0, 2), 64, 1), ((0, 3, 3), 64, 2), ((2, 0, 2), 64, 1)]
)  # fmt: skip
def test_a_removed_stage_goes_with_its_stride_and_the_head_reads_the_last_that_exists(
    depths, head: int, halvings: int
) -> None:
    net = network(depths, (1, 1, 1)).eval()
    assert net.head.in_features == net.norm.num_features == head
    seen = []
    net.norm.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:])))
    net(torch.rand(1, 3, 32, 32))
    assert seen == [(head, 32 >> halvings, 32 >> halvings)]


def test_convolutions_are_drawn_with_variance_two_over_fan_out() -> None:
    net = network((2, 2, 2), (4, 4, 4), seed=3)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            weight, std = (
                module.weight.detach().double(),
                math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels)),
            )
            count = weight.numel()
            assert abs(weight.mean()) < 5 * std / math.sqrt(count)
            assert abs(weight.std() / std - 1) < 5 / math.sqrt(2 * count)
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight)) and not module.bias.any()
    assert not net.head.bias.any() and net.head.weight.any()


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    one, same, other = (network((1, 1, 1), (1, 1, 1), seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.stem.weight, other.stem.weight)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image", [(8, 8), (28, 28), (33, 33), (8, 31), (40, 17)])
def test_any_image_of_at_least_eight_pixels_gives_logits_and_an_input_gradient(channels: int, image) -> None:
    net = network((1, 1, 1), (1, 1, 1), classes=7, in_channels=channels).eval()
    x = torch.rand(2, channels, *image, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = net(x)
    assert logits.shape == (2, 7) and torch.isfinite(logits).all()
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert torch.isfinite(gradient).all() and (gradient.flatten(1).abs().amax(1) > 0).all()
    # Average pooling: the head sees no more of a large map than of a small one.
    assert net.head.in_features == 64


def test_dropout_acts_in_training_only_and_inside_every_block() -> None:
    plain, dropped = network((1, 1, 1), (1, 1, 1)), network((1, 1, 1), (1, 1, 1), dropout=0.9)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.eval()(x), dropped.eval()(x))
    assert [m.p for m in dropped.modules() if isinstance(m, nn.Dropout)] == [0.9] * 3
    torch.manual_seed(0)
    assert not torch.allclose(plain.train()(x), dropped.train()(x))


@pytest.mark.parametrize(
    ("depths", "widths", "said"),
    [
        ((0, 0, 0), (1, 1, 1), "depths: expected at least one block in some stage, came 0-0-0"),
        ((1, 1, 1), (0.3, 1, 1), "came 0.3 for stage 1, which gives 4.8 channels; take a multiple of 1/16"),
        (
            (1, 1, 1),
            (1, 1, 0.01),
            "came 0.01 for stage 3, which gives 0.64 channels; take a multiple of 1/64",
        ),
    ],
)
def test_bad_depths_and_widths_are_explained(depths, widths, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        network(depths, widths)
    assert said in str(raised.value)


def test_normalisation_stands_before_the_network_and_is_no_parameter() -> None:
    net = network((1, 1, 1), (1, 1, 1)).eval()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    whole = normalised(net, mean, std).eval()
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    by_hand = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(whole(x), net(by_hand))
    assert sum(p.numel() for p in whole.parameters()) == sum(p.numel() for p in net.parameters())
    assert normalised(net, None, None) is net
    for bad in (((0.5,), (0.1, 0.1)), ((0.5,), (0.0,))):
        with pytest.raises(ValueError, match="one mean and one positive std per channel"):
            normalised(net, *bad)
