"""Drop-path against its definition, and the identity where it must be."""

import pytest
import torch
from torch import nn

from advarch.backbones.wide_resnet import WideResNet
from advarch.layers.drop_path import DropPath, grow_drop_path


def dropping(probability: float) -> DropPath:
    layer = DropPath(probability).train()
    grow_drop_path(layer, 1.0)
    return layer


def test_an_image_is_left_out_whole_or_scaled_by_one_over_keep() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ratio = dropping(0.3)(torch.ones(4000, 2, 3, 3)).flatten(1)
    assert (ratio == ratio[:, :1]).all()
    kept = ratio[:, 0] > 0
    torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 1 / 0.7))
    # Five standard deviations of a binomial.
    assert abs(kept.float().mean().item() - 0.7) < 5 * (0.3 * 0.7 / 4000) ** 0.5


def test_it_is_the_identity_in_eval_mode_and_at_the_beginning() -> None:
    x = torch.rand(50, 3)
    assert torch.equal(dropping(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.9).train()(x), x)


def test_the_probability_is_linear_in_the_share_and_is_not_saved() -> None:
    net = nn.Sequential(DropPath(0.2), nn.Sequential(DropPath(0.4)))
    for share in (0.0, 0.25, 1.0):
        grow_drop_path(net, share)
        found = [float(net[0].probability), float(net[1][0].probability)]
        assert found == pytest.approx([0.2 * share, 0.4 * share])
    assert not net.state_dict()


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_no_other_probability_is_taken(probability: float) -> None:
    with pytest.raises(ValueError, match=r"drop_path: expected a probability in \[0, 1\)"):
        DropPath(probability)


def network(**options) -> WideResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WideResNet(classes=3, in_channels=1, depths=[2, 1, 0], widths=[0.5, 0.5, 1], **options)


def test_in_a_wide_residual_network_it_drops_residual_branches_and_never_the_shortcut() -> None:
    net, plain = network(drop_path=0.5).eval(), network().eval()
    x = torch.rand(6, 1, 8, 8)
    assert list(net.state_dict()) == list(plain.state_dict()) and torch.equal(net(x), plain(x))
    block = net.stages[0][1].train()
    block.drop_path.probability.fill_(1 - 1e-7)  # so close to 1 that all is dropped
    h = torch.rand(6, 8, 8, 8)
    assert torch.equal(block(h), h)


def test_a_compiled_network_is_not_compiled_anew_when_the_probability_changes() -> None:
    compiled = []

    def count(graph: torch.fx.GraphModule, inputs: list) -> object:
        compiled.append(graph)
        return graph.forward

    net = network(drop_path=0.5).train()
    forward = torch.compile(net, backend=count, fullgraph=True)
    with torch.no_grad():
        for share in (0.0, 0.1, 0.2):
            grow_drop_path(net, share)
            forward(torch.rand(4, 1, 8, 8))
    assert len(compiled) == 1
