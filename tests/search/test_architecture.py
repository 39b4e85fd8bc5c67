"""What weighs the edges: softmaxes by hand, log-normal samples by their laws, paths."""

import math
from random import Random

import pytest
import torch

from advarch.genotype.space import ROBNET_OPERATIONS, Space
from advarch.search.architecture import LogNormalWeights, Path, Softmax, chosen

SPACE = Space(("none", "skip_connect", "sep_conv_3x3"), nodes=2)


def test_softmaxes_over_operations_and_over_the_edges_into_a_node() -> None:
    arch = Softmax(SPACE, edges=True, std=1.0)
    mixing = arch()
    alpha, beta = arch.alpha.detach().exp(), arch.beta.detach().exp()
    torch.testing.assert_close(mixing.operations.detach(), alpha / alpha.sum(-1, keepdim=True))
    node = torch.tensor([0, 0, 1, 1, 1])
    sums = torch.stack([beta[:, node == n].sum(1) for n in (0, 1)], 1)[:, node]
    torch.testing.assert_close(mixing.inputs.detach(), beta / sums)
    assert Softmax(SPACE)().inputs is None
    assert Softmax(Space(ROBNET_OPERATIONS, nodes=40)).alpha.detach().std() == pytest.approx(1e-3, rel=0.1)


def test_log_normal_weights_start_at_a_uniform_mixture() -> None:
    mixing = LogNormalWeights(SPACE)()
    torch.testing.assert_close(mixing.operations, torch.full((2, 5, 3), 1 / 3))
    torch.testing.assert_close(mixing.inputs, torch.tensor([[1 / 2] * 2 + [1 / 3] * 3] * 2))


def test_draws_follow_the_laws_hold_until_the_next_and_repeat_with_the_generator() -> None:
    arch = LogNormalWeights(Space(("skip_connect", "sep_conv_3x3"), nodes=40, layout="shared"), sigma=0.3)
    arch.draw(torch.Generator().manual_seed(0))
    arch.requires_grad_(False)
    mixing, (alpha, beta) = arch(), arch.laws()
    for weights, law in ((mixing.operations, alpha), (mixing.inputs, beta)):
        score = (weights.log() - law.mu) / law.variance.sqrt()
        assert abs(float(score.mean())) < 5 / math.sqrt(score.numel())
        assert float(score.var()) == pytest.approx(1, abs=5 * math.sqrt(2 / score.numel()))
    assert torch.equal(arch().operations, mixing.operations)
    arch.draw(torch.Generator().manual_seed(1))
    assert not torch.equal(arch().operations, mixing.operations)
    arch.draw(torch.Generator().manual_seed(0))
    assert torch.equal(arch().operations, mixing.operations)
    arch.still()
    torch.testing.assert_close(arch().operations, alpha.mu.exp())


def test_without_spread_there_is_no_sigma_and_a_sum_can_be_taken_out() -> None:
    arch = LogNormalWeights(SPACE, spread=False)
    arch.draw(torch.Generator().manual_seed(0))
    assert [name for name, _ in arch.named_parameters()] == ["mu_alpha", "mu_beta"]
    torch.testing.assert_close(arch().operations, arch.mu_alpha.exp())
    assert arch.laws()[0].variance.sum() == 0
    normed = LogNormalWeights(SPACE, normalise="sum")
    normed.draw(torch.Generator().manual_seed(0))
    mixing = normed()
    torch.testing.assert_close(mixing.operations.sum(-1), torch.ones(2, 5))
    torch.testing.assert_close(
        torch.stack([mixing.inputs[:, part].sum(-1) for part in SPACE.incoming]), torch.ones(2, 2)
    )


def test_a_path_runs_what_its_genotype_has() -> None:
    space = Space(ROBNET_OPERATIONS, nodes=2, inputs=None)
    path, genotype = Path(space), space.sample(Random(0))
    assert path().operations == (((False, True, True),) * 5,) * 2
    path.choose(genotype)
    assert path() == chosen(space, genotype)
    bits = path().operations
    for kind, cell in enumerate(genotype.cells):
        found = {
            (space.operations[o], space.edges[e]) for e in range(5) for o in range(3) if bits[kind][e][o]
        }
        assert found == {(edge.op, (edge.source, target)) for target, edge in cell.edges}
