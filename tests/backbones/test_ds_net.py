"""DS-Net: exact sizes, each block against plain functions of its weights, attention: initialisation, subsets, pruning."""

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.backbones.ds_net import PUBLISHED, DSNet, Module
from advarch.layers.atomic_blocks import DenseBlock, DlaBlock, MBConvBlock, ResNextBlock
from advarch.layers.residual_branches import (
    ArkBlock,
    Branch,
    DownBlock,
    ResidualBlock,
    Ssp2Block,
    Ssp3Block,
)
from advarch.metrics.cost import size

BLOCKS = ("residual", "mbconv", "dense", "ark")


def network(*, seed: int = 0, **options: Any) -> DSNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DSNet(**({"classes": 5, "in_channels": 3, "channels": 4, "factor": 2, "modules": 3} | options))


def modules(net: DSNet) -> list[Module]:
    return [stage for stage in net.stages if isinstance(stage, Module)]


@pytest.mark.parametrize(("factor", "parameters"), [(4, 20_780_245), (6, 46_353_435)])
def test_sizes_are_the_published_ones_and_the_logits_come_on_top(factor: int, parameters: int) -> None:
    build = partial(DSNet, classes=10, in_channels=3, factor=factor)
    assert size(build, (3, 32, 32)).parameters == parameters + 15 * 4
    fixed = partial(build, attention="fixed", attention_init="equal")
    assert size(fixed, (3, 32, 32)).parameters == parameters


def test_sizes_are_those_of_the_blocks() -> None:
    # 125 C^2 + 72.25 C + 2 for a module, biases included; the squeeze takes C / 4.
    for c in (4, 20, 80):
        net = network(channels=c, factor=1, attention="fixed")
        found = sum(p.numel() for p in modules(net)[0].parameters())
        assert found == 125 * c * c + 72.25 * c + 2
    # Multiply-adds at 8x8: a branch is 18 C^2 a pixel; ark has two, residual one. Channels are 8, 8 and 16 in the thirds.
    build = partial(
        DSNet, classes=5, in_channels=3, channels=8, factor=1, modules=3, blocks=["residual", "ark"]
    )
    expected = 27 * 8 * 64 + 16 * 5
    for c, pixels in ((8, 64), (8, 16), (16, 4)):
        expected += 3 * 18 * c * c * pixels
    for c, wider, pixels in ((8, 8, 16), (8, 16, 4)):
        expected += (9 * c * wider + 9 * wider * wider + c * wider) * pixels
    assert size(build, (3, 8, 8)).macs == expected


def image(channels: int = 4, count: int = 6) -> Tensor:
    return torch.randn(count, channels, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def norm(x: Tensor) -> Tensor:
    return (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()


def f(branch: Branch, x: Tensor, stride: int = 1) -> Tensor:
    w = dict(branch.named_parameters())
    y = F.conv2d(F.relu(norm(x)), w["conv1.weight"], w["conv1.bias"], stride, 1)
    return F.conv2d(F.relu(norm(y)), w["conv2.weight"], w["conv2.bias"], 1, 1)


def test_residual_and_down_sampling_blocks() -> None:
    x = image()
    block = ResidualBlock(4, "relu").double().train()
    torch.testing.assert_close(block(x), norm(x + f(block.branch, x)))
    bare = ResidualBlock(4, "relu", normed=False).double().train()
    torch.testing.assert_close(bare(x), x + f(bare.branch, x))
    down = DownBlock(4, 7, "relu").double().train()
    shortcut = norm(F.conv2d(F.relu(norm(x)), down.shortcut.weight, stride=2))
    torch.testing.assert_close(down(x), norm(shortcut + f(down.branch, x, 2)))


def test_ada_rk_is_its_formula_and_consistent() -> None:
    x, block = image(), ArkBlock(4, "relu").double().train()
    a, b = 1 / (1 + math.exp(-0.25)), 1 / (1 + math.exp(-1.0))
    b21 = 1 / (2 * b)
    slope = f(block.branch, x)
    inner = x + b * slope
    y = (1 - a) * x + (1 - b21 - a * b) * slope + a * inner + b21 * f(block.branch, inner)
    torch.testing.assert_close(block(x), norm(y))
    torch.testing.assert_close(block(x), norm(x + (1 - b21) * slope + b21 * f(block.branch, inner)))
    # A scheme of second order: on x' = lambda x (f linear) one step is 1 + lambda + lambda^2 / 2, whatever the coefficients.
    for a21, b10 in ((0.25, 1.0), (-1.0, 0.3), (2.0, -0.5)):
        scheme = ArkBlock(1, "relu", normed=False).double()
        scheme.branch = nn.Linear(1, 1, bias=False).double()  # type: ignore[assignment]
        with torch.no_grad():
            scheme.a21.fill_(a21)
            scheme.b10.fill_(b10)
            scheme.branch.weight.fill_(0.3)  # type: ignore[operator, union-attr]
        one = torch.ones(1, 1, dtype=torch.float64)
        torch.testing.assert_close(scheme(one), one * (1 + 0.3 + 0.3**2 / 2))


def test_ssp2_is_the_mean_of_the_input_and_two_euler_steps() -> None:
    x, block = image(), Ssp2Block(4, "relu", normed=False).double().train()
    once = x + f(block.branch, x)
    torch.testing.assert_close(block(x), (x + once + f(block.branch, once)) / 2)


def test_ssp3_s_stages_are_means_and_its_order_is_three() -> None:
    x, block = image(), Ssp3Block(4, "relu").double().train()
    first = x + f(block.branch, x)
    second = (3 * x + first + f(block.branch, first)) / 4
    torch.testing.assert_close(block(x), norm((x + 2 * (second + f(block.branch, second))) / 3))
    scheme, one = Ssp3Block(1, "relu", normed=False).double(), torch.ones(1, 1, dtype=torch.float64)
    scheme.branch = nn.Linear(1, 1, bias=False).double()  # type: ignore[assignment]
    nn.init.constant_(scheme.branch.weight, 0.3)  # type: ignore[arg-type]
    torch.testing.assert_close(scheme(one), one * (1 + 0.3 + 0.3**2 / 2 + 0.3**3 / 6))


def test_mbconv_block() -> None:
    x, block = image(8), MBConvBlock(8, 0.0).double().train()
    w = [p for name, p in block.named_parameters() if p.dim() == 4]
    wide = F.silu(norm(F.conv2d(x, w[0])))
    wide = F.silu(norm(F.conv2d(wide, w[1], padding=1, groups=16)))
    pooled = wide.mean((2, 3), keepdim=True)
    squeezed = F.silu(F.conv2d(pooled, w[2], block.excite[1].bias))
    gate = torch.sigmoid(F.conv2d(squeezed, w[3], block.excite[3].bias))
    assert squeezed.shape[1] == 2
    torch.testing.assert_close(block(x), norm(x + norm(F.conv2d(wide * gate, w[4]))))


def test_mbconv_s_branch_is_left_out_image_by_image_in_training_only() -> None:
    x, block = image(8, 400), MBConvBlock(8, 0.2).double().train()
    branches = []
    block.drop.register_forward_hook(lambda module, args, output: branches.append((args[0], output)))
    torch.manual_seed(0)
    block(x)
    before, after = branches[0]
    ratio = (after / before).flatten(1)
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio))
    kept = ratio[:, 0] > 0
    torch.testing.assert_close(ratio[kept, 0], torch.full((int(kept.sum()),), 1 / 0.8).double())
    assert abs(kept.double().mean() - 0.8) < 5 * math.sqrt(0.16 / 400)
    block.eval()(x)
    assert torch.equal(*branches[1])


def test_dense_block_takes_the_mean_of_its_three_maps() -> None:
    x, block = image(), DenseBlock(4, "relu").double().train()
    w = [p for p in block.parameters() if p.dim() == 4]
    first = F.conv2d(F.relu(norm(F.conv2d(F.relu(norm(x)), w[0]))), w[1], padding=1)
    both = torch.cat([x, first], 1)
    second = F.conv2d(F.relu(norm(F.conv2d(F.relu(norm(both)), w[2]))), w[3], padding=1)
    torch.testing.assert_close(block(x), norm(torch.stack([x, first, second]).mean(0)))


@pytest.mark.parametrize(("channels", "groups"), [(20, 4), (6, 2), (7, 1)])
def test_blocks_of_the_second_space(channels: int, groups: int) -> None:
    x = image(channels)
    resnext = ResNextBlock(channels, "relu").double().train()
    w = [p for p in resnext.parameters() if p.dim() == 4]
    y = F.relu(norm(F.conv2d(F.relu(norm(F.conv2d(x, w[0]))), w[1], padding=1, groups=groups)))
    torch.testing.assert_close(resnext(x), norm(x + norm(F.conv2d(y, w[2]))))
    dla = DlaBlock(channels, "relu").double().train()
    outs = [x]
    for i, branch in enumerate(dla.branches):
        if i == 2:
            outs.append(F.conv2d(torch.cat(outs[1:3], 1), dla.inner.weight))
        outs.append(outs[-1] + f(branch, outs[-1]))
    torch.testing.assert_close(dla(x), norm(F.conv2d(torch.cat(outs[3:], 1), dla.root.weight)))


def test_a_module_is_the_weighted_sum_of_its_blocks() -> None:
    net, x = network(attention_scale=1.0).double().eval(), image(4)
    module = modules(net)[0]
    exp = [math.exp(v) for v in module.logits.tolist()]
    expected = sum(e / sum(exp) * block(x) for e, block in zip(exp, module.blocks, strict=True))
    torch.testing.assert_close(module(x), expected)


def test_reductions_stand_after_each_third_with_channels_c_kc_2kc() -> None:
    net = network(channels=4, factor=3, modules=7).eval()
    seen = []
    for stage in net.stages:
        stage.register_forward_hook(
            lambda module, args, output: seen.append((type(module).__name__, *output.shape[1:3]))
        )
    net(torch.rand(1, 3, 16, 16))
    down = [("DownBlock", 12, 8), ("DownBlock", 24, 4)]
    assert (
        seen
        == [("Module", 4, 16)] * 2 + down[:1] + [("Module", 12, 8)] * 2 + down[1:] + [("Module", 24, 4)] * 3
    )


def test_logits_are_parameters_of_the_state_and_have_a_group_of_their_own() -> None:
    net = network(modules=4)
    found = list(net.attention_parameters())
    names = [name for name, p in net.named_parameters() if any(p is q for q in found)]
    assert names == [f"stages.{i}.logits" for i in (0, 2, 4, 5)] and all(
        name in net.state_dict() for name in names
    )
    net(torch.rand(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in found)
    fixed = network(attention="fixed")
    assert not list(fixed.attention_parameters()) and "stages.0.logits" in fixed.state_dict()
    assert not any("logits" in name for name, _ in fixed.named_parameters())


# Mean and standard deviation of each distribution of Fig. 5.
MOMENTS = {
    "normal": (0.0, 1.0),
    "uniform": (0.5, math.sqrt(1 / 12)),
    "log_normal": (math.exp(0.5), math.sqrt((math.e - 1) * math.e)),
    "exponential": (1.0, 1.0),
    "geometric": (2.0, math.sqrt(2.0)),
    "equal": (0.0, 0.0),
}


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_initialisations_have_the_moments_of_their_distribution(name: str, scale: float) -> None:
    net = network(
        modules=150, blocks=["residual"] * 4, channels=1, factor=1, attention_init=name, attention_scale=scale
    )
    drawn = torch.cat(list(net.attention_parameters())).detach() / scale
    mean, std = MOMENTS[name]
    assert abs(drawn.mean() - mean) <= 5 * std / math.sqrt(600)
    # Of the log-normal's heavy tail the sample's spread says little.
    assert abs(drawn.std() - std) <= (0.6 if name == "log_normal" else 0.2) * std


def test_published_logits_follow_the_blocks() -> None:
    net = network(modules=15, channels=1, factor=1, attention_init="published", blocks=["ark", "dense"])
    for module, row in zip(modules(net), PUBLISHED, strict=True):
        torch.testing.assert_close(module.logits.detach(), torch.tensor([row[3], row[2]]))
    assert len(PUBLISHED) == 15 and all(abs(sum(row)) < 1.5 for row in PUBLISHED)


@pytest.mark.parametrize("keep", [1, 2, 3, 4])
def test_pruning_keeps_the_largest_and_renormalises(keep: int) -> None:
    net = network(modules=15, channels=4, factor=1, attention="fixed", attention_init="published", keep=keep)
    kinds = {"residual": ResidualBlock, "mbconv": MBConvBlock, "dense": DenseBlock, "ark": ArkBlock}
    for module, row in zip(modules(net), PUBLISHED, strict=True):
        order = sorted(range(4), key=lambda j: row[j])[-keep:]
        assert [type(b) for b in module.blocks] == [kinds[BLOCKS[j]] for j in sorted(order)]
        exp = torch.tensor([math.exp(row[j]) for j in sorted(order)])
        torch.testing.assert_close(module.weights(), exp / exp.sum())
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)


def test_logits_of_a_training_of_one_s_own_and_any_subset_of_blocks() -> None:
    rows = [[0.0, 1.0], [2.0, 1.0], [0.5, 0.5]]
    net = network(blocks=["mbconv", "ark"], attention="fixed", attention_init=rows, keep=1)
    assert [type(m.blocks[0]) for m in modules(net)] == [ArkBlock, MBConvBlock, MBConvBlock]
    same = network(blocks=["residual"] * 4, attention="fixed", attention_init="equal")
    assert all(len(m.blocks) == 4 and torch.equal(m.weights(), torch.full((4,), 0.25)) for m in modules(same))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": 2}, "keep: expected fixed attention and attention_init published or a row of logits"),
        ({"keep": 2, "attention": "fixed"}, "came attention fixed and attention_init normal"),
        ({"keep": 5, "attention": "fixed", "attention_init": "published", "modules": 15}, "keep: expected at most the 4 blocks"),
        ({"attention_init": "published"}, "attention_init: expected 4 logits for each of 3 modules, came 15 rows of 4"),
        ({"attention_init": "published", "blocks": ["dla"], "modules": 15}, "expected blocks among residual, mbconv, dense, ark for published logits, came dla"),
        ({"attention_init": [[1.0]] * 3}, "expected 4 logits for each of 3 modules, came 3 rows of 1"),
    ],
)  # fmt: skip
def test_attention_that_does_not_fit_is_explained(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as raised:
        network(**options)
    assert said in str(raised.value)
