"""Auxiliary heads: when they run, and what they add to a loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.layers.auxiliary import (
    auxiliary_loss,
    collect,
    collecting,
    not_collecting,
    wanted,
)
from advarch.modes import attack_mode


class TwoHeads(nn.Module):
    """A classifier with an auxiliary head on its hidden features."""

    def __init__(self, weight: float = 0.4) -> None:
        super().__init__()
        self.hidden, self.norm = nn.Linear(16, 6), nn.BatchNorm1d(6)
        self.head, self.second = nn.Linear(6, 3), nn.Linear(6, 3)
        self.weight, self.runs = weight, 0

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.norm(self.hidden(x.flatten(1))))
        if wanted(self):
            self.runs += 1
            collect(self.second(h), self.weight)
        return self.head(h)


@pytest.fixture
def net() -> TwoHeads:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TwoHeads().train()


X, Y = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1])


def test_the_head_runs_only_in_training_mode_and_while_someone_collects(net: TwoHeads) -> None:
    net(X)
    assert net.runs == 0
    with collecting() as found:
        net(X), net.eval()(X), net.train()(X)
        with not_collecting():
            net(X)
    assert net.runs == len(found) == 2
    net(X)
    assert net.runs == 2


@pytest.mark.parametrize("mode", ["eval", "train", "train_frozen_stats"])
def test_no_head_runs_under_attack(net: TwoHeads, mode: str) -> None:
    with collecting() as found:
        with attack_mode(net, mode):
            net(X)
        assert not found
        net(X)
    assert len(found) == 1


def test_collecting_ends_with_an_error_and_nests(net: TwoHeads) -> None:
    with collecting() as outer:
        with pytest.raises(KeyError), collecting():
            raise KeyError
        net(X)
    assert len(outer) == 1 and not wanted(net)


def test_the_loss_is_the_mean_over_passes_of_weighted_cross_entropies(net: TwoHeads) -> None:
    with collecting() as found:
        net(X), net(1 - X)
    expected = 0.0
    for logits, _ in found:
        expected += 0.4 * -sum(logits.log_softmax(1)[i, y] for i, y in enumerate(Y.tolist())) / 5 / 2
    torch.testing.assert_close(auxiliary_loss(found, Y), expected)
    assert auxiliary_loss([], Y) == 0


def test_a_pass_over_two_copies_of_the_batch_counts_both_and_one_over_a_part_is_refused(
    net: TwoHeads,
) -> None:
    with collecting() as found:
        net(torch.cat([X, 1 - X]))
    expected = 0.4 * F.cross_entropy(found[0].logits, torch.cat([Y, Y]))
    torch.testing.assert_close(auxiliary_loss(found, Y), expected)
    for part in (X[:3], torch.cat([X, X[:2]])):
        with collecting() as found:
            net(part)
        with pytest.raises(ValueError, match="expected logits of the 5 images"):
            auxiliary_loss(found, Y)


def test_a_compiled_network_hands_over_the_same_logits(net: TwoHeads) -> None:
    with collecting() as eager:
        expected = net(X)
    net.compile(backend="aot_eager")
    for _ in range(2):
        with collecting() as found:
            logits = net(X)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(found[0].logits, eager[0].logits)
    with collecting() as found, attack_mode(net, "train"):
        net(X)
    assert not found
