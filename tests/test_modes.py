"""The state a model is attacked in: what changes meanwhile, and that afterwards everything is as it was."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advarch.modes import attack_mode, attacked_as, frozen_parameters

MODES = ["eval", "train", "train_frozen_stats"]
every_mode = pytest.mark.parametrize("mode", MODES)


def network() -> nn.Sequential:
    """Two norms of which the second is frozen in eval mode, one that tracks nothing, and one frozen parameter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.BatchNorm2d(4),
            nn.BatchNorm2d(4, track_running_stats=False),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(16, 3),
        )
    net.train()
    net[4].eval()
    net[3].weight.requires_grad_(False)
    return net


def images(seed: int = 0) -> Tensor:
    return torch.rand(6, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def flags(net: nn.Module) -> list[tuple]:
    found: list[tuple] = [(name, m.training) for name, m in net.named_modules()]
    found += [
        (name, m.track_running_stats) for name, m in net.named_modules() if hasattr(m, "track_running_stats")
    ]
    return found + [(name, p.requires_grad) for name, p in net.named_parameters()]


def statistics(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.named_buffers()}


@every_mode
def test_every_flag_is_restored_exactly_frozen_norms_and_parameters_included(mode) -> None:
    net = network()
    before = flags(net)
    with attack_mode(net, mode):
        net(images())
    assert flags(net) == before


@every_mode
def test_an_exception_restores_every_flag_also_from_within_another_mode(mode) -> None:
    net = network()
    before = flags(net)
    with pytest.raises(KeyError), attack_mode(net, "eval"):
        inside = flags(net)
        with pytest.raises(ZeroDivisionError), attack_mode(net, mode):
            raise ZeroDivisionError
        assert flags(net) == inside
        raise KeyError
    assert flags(net) == before


def test_an_unknown_mode_is_refused_and_changes_nothing() -> None:
    net = network()
    before = flags(net)
    said = "expected eval, train or train_frozen_stats, came 'test'"
    with pytest.raises(ValueError, match=said), attack_mode(net, "test"):  # type: ignore[arg-type]
        raise AssertionError("entered")
    assert flags(net) == before


@every_mode
def test_no_parameter_asks_for_a_gradient_meanwhile_and_none_gets_one(mode) -> None:
    net = network()
    with attack_mode(net, mode):
        assert not any(p.requires_grad for p in net.parameters())
        x = images().requires_grad_()
        (gradient,) = torch.autograd.grad(net(x).sum(), x)
    assert gradient.abs().sum() > 0 and all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(("mode", "moved"), [("eval", False), ("train", True), ("train_frozen_stats", False)])
def test_running_statistics_move_in_train_mode_only(mode, moved: bool) -> None:
    net = network()
    before = statistics(net)
    with attack_mode(net, mode):
        net(images())
        net(images(1))
    after = statistics(net)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    # 1.* is in training mode; 4.* was found in eval mode and stays frozen in every mode.
    expected = {"1.running_mean", "1.running_var", "1.num_batches_tracked"} if moved else set()
    assert changed == expected


def test_the_output_in_eval_mode_uses_the_running_statistics() -> None:
    net = network()
    twin = copy.deepcopy(net).eval()
    with attack_mode(net, "eval"):
        assert torch.equal(net(images()), twin(images()))


def test_the_output_with_frozen_statistics_is_that_of_train_mode() -> None:
    outputs = []
    for mode in ("train", "train_frozen_stats"):
        net = network()
        torch.manual_seed(3)
        with attack_mode(net, mode):
            outputs.append(net(images()))
    plain = network()
    torch.manual_seed(3)
    assert torch.equal(outputs[0], plain(images())) and torch.equal(outputs[0], outputs[1])
    with attack_mode(network(), "eval"):
        pass
    assert not torch.equal(outputs[1], network().eval()(images()))


def test_after_frozen_statistics_training_moves_them_again() -> None:
    net, twin = network(), network()
    with attack_mode(net, "train_frozen_stats"):
        net(images(1))
    net(images())
    twin(images())
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), twin.buffers(), strict=True))
    assert int(net[1].num_batches_tracked) == 1


NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(2),
    "batch, cumulative": lambda: nn.BatchNorm2d(2, momentum=None),
    "instance": lambda: nn.InstanceNorm2d(2, track_running_stats=True),
}


@pytest.mark.parametrize("name", list(NORMS))
def test_frozen_statistics_hold_for_every_kind_of_norm(name: str) -> None:
    norm = NORMS[name]()
    before = statistics(norm)
    with attack_mode(norm, "train_frozen_stats"):
        found = norm(images())
    after = statistics(norm)
    assert torch.equal(found, NORMS[name]()(images()))
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_frozen_parameters_of_a_plain_function_are_none() -> None:
    entered = False
    with frozen_parameters(lambda x: x):
        entered = True
    assert entered


def test_frozen_parameters_restore_a_shared_parameter_and_mixed_flags() -> None:
    shared = nn.Linear(2, 2)
    shared.bias.requires_grad_(False)
    net = nn.Sequential(shared, shared)
    with pytest.raises(KeyError), frozen_parameters(net):
        assert not shared.weight.requires_grad
        raise KeyError
    assert shared.weight.requires_grad and not shared.bias.requires_grad


def test_what_stands_in_for_a_network_is_given_for_it_alone_in_eval_mode_and_within_the_block() -> None:
    net, other, stand_in = network(), network(), nn.Identity()

    def given(model: nn.Module, mode="eval") -> nn.Module:
        with attack_mode(model, mode) as attacked:
            return attacked

    with pytest.raises(KeyError), attacked_as(net, lambda: stand_in):
        assert given(net) is stand_in and given(other) is other
        assert given(net, "train") is net and given(net, "train_frozen_stats") is net
        with attacked_as(other, lambda: other[0]):
            assert given(net) is net and given(other) is other[0]
        assert given(net) is stand_in
        raise KeyError
    assert given(net) is net
