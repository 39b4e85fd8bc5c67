"""Networks of cells: published sizes, sizes counted from the genotype alone, a plain reference, the options."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from advarch.backbones.cell_net import CellNet, reductions
from advarch.errors import InputError
from advarch.genotype import robnet_code, stored
from advarch.genotype.cell import Cell, Edge, Genotype
from advarch.genotype.operations import OPERATIONS
from advarch.genotype.published import PUBLISHED, published, resolve
from advarch.layers.auxiliary import collecting
from advarch.layers.drop_path import DropPath, grow_drop_path
from advarch.metrics.cost import size

C20 = [108, 36, 72, 144]


def network(genotype: Any, *, seed: int = 0, classes: int = 5, in_channels: int = 3, **options) -> CellNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"cells": 3, "channels": 4} | options
        return CellNet(genotype=genotype, classes=classes, in_channels=in_channels, **options)


def sized(
    genotype: Any, classes: int = 10, image: tuple[int, int, int] = (3, 32, 32), **options
) -> tuple[int, int]:
    found = size(partial(CellNet, genotype=genotype, classes=classes, in_channels=image[0], **options), image)
    return found.parameters, found.macs


# Published or recounted elsewhere: genotype, cells, channels, stem, affine, classes, side, parameters.
KNOWN = {
    "DARTS, 11 cells": ("darts_v2", 11, [108, 72, 144, 288], "cifar", True, 10, 32, 6_579_118),
    "DARTS-R, 11 cells": ("darts_v2", 11, [108, 72, 144, 116], "cifar", True, 10, 32, 2_526_970),
    "DARTS_V1": ("darts_v1", 20, 36, "cifar", True, 10, 32, 3_169_414),
    "DARTS_V2": ("darts_v2", 20, 36, "cifar", True, 10, 32, 3_349_342),
    "PC-DARTS": ("pc_darts", 20, 36, "cifar", True, 10, 32, 3_634_678),
    "NASNet-A": ("nasnet_a", 20, 36, "cifar", True, 10, 32, 3_830_950),
    "AmoebaNet-A": ("amoebanet_a", 20, 36, "cifar", True, 10, 32, 3_145_078),
    "RACL v1": ("racl_v1", 20, 36, "cifar", True, 10, 32, 3_571_174),
    "RobNet-large": ("robnet_large", 20, 36, "cifar", False, 10, 32, 6_842_710),
    "RobNet-large, 100 classes": ("robnet_large", 20, 36, "cifar", False, 100, 32, 6_894_640),
    "RobNet-large-v2": ("robnet_large", 33, 64, "cifar", False, 10, 32, 33_326_666),
    "RobNet-large-v2, 100 classes": ("robnet_large", 33, 64, "cifar", False, 100, 32, 33_418_916),
    "RobNet-free": ("robnet_free", 20, 36, "cifar", False, 10, 32, 5_439_790),
    "RobNet-free, 100 classes": ("robnet_free", 20, 36, "cifar", False, 100, 32, 5_491_720),
    "RobNet-large, ImageNet": ("robnet_large", 20, 48, "imagenet", False, 1000, 224, 12_756_448),
}


def op_cost(op: str, c: int, stride: int, side: int, affine: bool) -> tuple[int, int]:
    """Parameters and multiply-adds of an operation on a square map of that side, from its description."""
    family, k, _ = OPERATIONS[op]
    small, norm = math.ceil(side / stride), 2 * c * affine
    if family == "separable":
        return 2 * (k * k * c + c * c + norm), 2 * (k * k * c + c * c) * small**2
    if family == "dilated":
        return k * k * c + c * c + norm, (k * k * c + c * c) * small**2
    if family == "factorised":
        return 2 * k * c * c + norm, k * c * c * (side * small + small**2)
    if op == "skip_connect" and stride == 2:
        return c * c + norm, c * c * small**2
    return 0, 0


def counted(genotype, cells, channels, stem, affine, classes, side) -> tuple[int, int]:
    """Parameters and multiply-adds from the genotype, without any network."""
    if isinstance(channels, int):
        channels = [channels * (3 if stem == "cifar" else 1), channels, 2 * channels, 4 * channels]
    first, *widths = channels
    weights, norms = 27 * first, 2 * first
    macs, older_side = weights * side**2, side
    if stem == "imagenet":
        steps = [(27 * first // 2, 2), (9 * first * first // 2, 4), (9 * first * first, 8)]
        weights, norms = sum(w for w, _ in steps), first + 4 * first
        macs = sum(w * (side // s) ** 2 for w, s in steps)
        older_side, side = side // 4, side // 8
    parameters, older, newer, stage = weights + norms, first, first, 0
    for place in range(cells):
        reduction = place in (cells // 3, 2 * cells // 3)
        stage += reduction
        c, cell = widths[stage], resolve(genotype).cell(place, reduction=reduction)
        # Whatever form the older input's adapter has, it is one 1x1 convolution's worth of weights on the newer input's map.
        parameters += older * c + newer * c + 4 * c * affine
        macs += (older * c + newer * c) * side**2
        assert math.ceil(older_side / 2) == side or older_side == side
        small = math.ceil(side / 2) if reduction else side
        for _, (op, source) in cell.edges:
            stride = 2 if reduction and source < 2 else 1
            extra = op_cost(op, c, stride, side if stride == 2 else small, affine)
            parameters, macs = parameters + extra[0], macs + extra[1]
        older, newer, older_side, side = newer, c * len(cell.concat), side, small
    return parameters + newer * classes + classes, macs + newer * classes


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_are_the_published_ones_and_those_counted_from_the_genotype(name: str) -> None:
    genotype, cells, channels, stem, affine, classes, side, parameters = KNOWN[name]
    found = sized(
        genotype, classes, (3, side, side), cells=cells, channels=channels, stem=stem, affine=affine
    )
    assert found[0] == parameters
    assert found == counted(genotype, cells, channels, stem, affine, classes, side)


@given(
    st.sampled_from(PUBLISHED),
    st.integers(3, 8),
    st.integers(2, 5).map(lambda n: 2 * n),
    st.booleans(),
    st.integers(8, 21),
)
@settings(max_examples=12, deadline=None)
def test_sizes_of_small_networks_are_counted_too(
    name: str, cells: int, channels: int, affine: bool, side: int
) -> None:
    cells = 20 if name == "robnet_free" else cells
    options = {"cells": cells, "channels": channels, "affine": affine}
    assert sized(name, 7, (3, side, side), **options) == counted(
        name, cells, channels, "cifar", affine, 7, side
    )


@given(st.lists(st.sampled_from(["01", "10", "11"]), min_size=14, max_size=14))
@settings(max_examples=2, deadline=None)
def test_sizes_of_robnets_grow_by_the_operations_they_have(entries: list[str]) -> None:
    # 100 classes, 20 cells, C = 36: only identities on the 8 edges that leave a cell's input have weights, in reductions.
    convolutions = sum(entry[1] == "1" for entry in entries)
    inputs = (0, 1, 2, 3, 5, 6, 9, 10)
    identities = sum(entries[i][0] == "1" for i in inputs)
    parameters, _ = sized(" ".join(entries), 100, affine=False)
    assert parameters == 1_415_152 + 409_536 * convolutions + 25_920 * identities


def reference(net: CellNet, genotype: Genotype, x: Tensor, *, training: bool) -> Tensor:
    """The network in plain functions of its weights, from the genotype."""
    w = dict(net.named_parameters())
    b = {name: value.clone() for name, value in net.named_buffers()}

    def norm(x: Tensor, name: str) -> Tensor:
        statistics = (None, None) if training else (b[f"{name}.running_mean"], b[f"{name}.running_var"])
        return F.batch_norm(x, *statistics, w.get(f"{name}.weight"), w.get(f"{name}.bias"), training)

    def reduce(x: Tensor, name: str) -> Tensor:
        x = F.relu(x)
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        halves = [
            F.conv2d(x[:, :, ::2, ::2], w[f"{name}.even.weight"]),
            F.conv2d(x[:, :, 1::2, 1::2], w[f"{name}.odd.weight"]),
        ]
        return norm(torch.cat(halves, 1), f"{name}.norm")

    def operate(x: Tensor, op: str, stride: int, name: str) -> Tensor:
        family, k, _ = OPERATIONS[op]
        if op == "skip_connect":
            return x if stride == 1 else reduce(x, name)
        if op == "max_pool_3x3":
            return F.max_pool2d(x, 3, stride, 1)
        if op == "avg_pool_3x3":
            return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        if family == "factorised":
            x = F.conv2d(F.relu(x), w[f"{name}.1.weight"], stride=(1, stride), padding=(0, 3))
            return norm(F.conv2d(x, w[f"{name}.2.weight"], stride=(stride, 1), padding=(3, 0)), f"{name}.3")
        dilation = 2 if family == "dilated" else 1
        for at in (0, 4)[: 3 - dilation]:
            s, c = 1 if at else stride, x.shape[1]
            x = F.conv2d(F.relu(x), w[f"{name}.{at + 1}.weight"], None, s, dilation * (k // 2), dilation, c)
            x = norm(F.conv2d(x, w[f"{name}.{at + 2}.weight"]), f"{name}.{at + 3}")
        return x

    older = newer = norm(F.conv2d(x, w["stems.0.0.weight"], padding=1), "stems.0.1")
    for place in range(len(net.cells)):
        reduction, cell = (
            place in reductions(len(net.cells)),
            genotype.cell(place, reduction=place in reductions(len(net.cells))),
        )
        name, states = f"cells.{place}", []
        for i, state in enumerate((older, newer)):
            if i == 0 and older.shape != newer.shape and older.shape[2] > newer.shape[2]:
                states.append(reduce(state, f"{name}.inputs.0"))
            else:
                states.append(
                    norm(F.conv2d(F.relu(state), w[f"{name}.inputs.{i}.1.weight"]), f"{name}.inputs.{i}.2")
                )
        for node, edges in enumerate(cell.nodes):
            strides = [2 if reduction and source < 2 else 1 for _, source in edges]
            states.append(
                torch.stack(
                    [
                        operate(states[e.source], e.op, s, f"{name}.nodes.{node}.{i}")
                        for i, (e, s) in enumerate(zip(edges, strides, strict=True))
                    ]
                ).sum(0)
            )
        older, newer = newer, torch.cat([states[number] for number in cell.concat], 1)
    return newer.mean((2, 3)) @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("image", [(16, 16), (13, 18)])
@pytest.mark.parametrize("name", ["amoebanet_a", "nasnet_a", "pc_darts", "racl_v1", "robnet_large"])
def test_a_network_is_what_the_genotype_says(name: str, image: tuple[int, int], training: bool) -> None:
    net = network(name, cells=4, affine=name != "robnet_large").double()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d) and module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    x = torch.rand(6, 3, *image, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net.train()(x)
    net.train(training)
    expected = reference(net, published(name), x, training=training)
    torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("cells", "places"), [(20, (6, 13)), (33, (11, 22)), (11, (3, 7)), (3, (1, 2)), (8, (2, 5))]
)
def test_reductions_stand_at_thirds(cells: int, places: tuple[int, int]) -> None:
    assert reductions(cells) == places
    net, sides = network("darts_v1", cells=cells, channels=2).eval(), []
    for cell in net.cells:
        cell.register_forward_hook(lambda module, args, output: sides.append(output.shape[-1]))
    net(torch.rand(1, 3, 16, 16))
    assert sides == [16] * places[0] + [8] * (places[1] - places[0]) + [4] * (cells - places[1])


def test_the_imagenet_stem_takes_an_eighth() -> None:
    net = network("darts_v2", stem="imagenet", channels=8).eval()
    seen = []
    net.cells[0].register_forward_hook(
        lambda module, args, output: seen.extend(t.shape[1:] for t in (*args, output))
    )
    assert net(torch.rand(1, 3, 64, 64)).shape == (1, 5)
    assert seen == [(8, 16, 16), (8, 8, 8), (32, 8, 8)]


def test_a_genotype_may_be_a_name_a_file_a_code_or_its_content(tmp_path: Path) -> None:
    large = published("robnet_large")
    code = robnet_code.encode(large)
    (tmp_path / "code.txt").write_text(code)
    forms = [
        "robnet_large",
        code.strip(),
        stored.to_plain(large),
        str(stored.write(large, tmp_path / "g.json")),
        str(tmp_path / "code.txt"),
    ]
    x = torch.rand(2, 3, 8, 8)
    logits = [network(form).eval()(x) for form in forms]
    assert all(torch.equal(one, logits[0]) for one in logits)


def test_an_edge_of_none_adds_nothing() -> None:
    plain = Cell(((Edge("sep_conv_3x3", 0), Edge("max_pool_3x3", 1)),), (2,))
    with_none = Cell((*[(*plain.nodes[0], Edge("none", 1))],), (2,))
    nets = [network(stored.to_plain(Genotype("g", "shared", (cell,)))) for cell in (plain, with_none)]
    x = torch.rand(2, 3, 8, 8)
    for net in nets[1:]:
        state = list(nets[0].state_dict().values())
        net.load_state_dict(dict(zip(net.state_dict(), state, strict=True)))
    torch.testing.assert_close(nets[1].eval()(x), nets[0].eval()(x))


def test_robnets_have_norm_weights_in_the_stem_only() -> None:
    net = network("robnet_large", affine=False)
    affine = [name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
    assert affine == ["stems.0.1"]


def test_drop_path_stands_on_all_edges_but_identities_and_acts_in_training_only() -> None:
    net, plain = network("darts_v2", drop_path=0.5), network("darts_v2")
    dropping = [m for m in net.modules() if isinstance(m, DropPath)]
    identities = sum(isinstance(m, nn.Identity) for cell in net.cells for m in cell.modules())
    assert len(dropping) == 3 * 8 - identities and 0 < identities
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net.eval()(x), plain.eval()(x))
    assert torch.equal(net.train()(x), plain.train()(x)), "nothing is left out before training has begun"
    grow_drop_path(net, 1.0)
    torch.manual_seed(0)
    assert not torch.allclose(net.train()(x), plain.train()(x))


def test_the_auxiliary_head_speaks_in_training_when_someone_listens() -> None:
    net, x = network("darts_v2", auxiliary=0.4).train(), torch.rand(4, 3, 32, 32)
    seen = []
    net.cells[2].register_forward_hook(lambda module, args, output: seen.append(output))
    with collecting() as found:
        net(x)
        ((logits, weight),) = found
        assert weight == 0.4 and logits.shape == (4, 5)
        (gradient,) = torch.autograd.grad(logits.sum(), seen[0])
        assert gradient.any()
        net.eval()(x)
    assert len(found) == 1
    plain = network("darts_v2")
    extra = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra == sum(p.numel() for p in net.auxiliary_head.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"genotype": "robnet_free"},
            "cells: expected 20, for robnet_free has a cell for each place, came 3",
        ),
        ({"genotype": "darts"}, "genotype: unknown name 'darts'"),
        ({"genotype": {"schema": 1}}, "genotype: missing key 'cells'"),
    ],
)
def test_a_genotype_that_does_not_fit_is_explained(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        network(**options)
    assert said in str(raised.value)
