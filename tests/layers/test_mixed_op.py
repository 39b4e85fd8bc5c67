"""Mixed operations against plain sums, partial channels against loops over channels."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.genotype.space import DARTS_OPERATIONS
from advarch.layers.mixed_op import MixedOperation

NAMES = ("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3")


def mixed(names=NAMES, channels: int = 8, stride: int = 1, **options) -> MixedOperation:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MixedOperation(names, channels, stride, **options).double()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def plain(op: MixedOperation, x: Tensor, weights: Tensor) -> Tensor:
    """The sum as printed, zero included."""
    return torch.stack([w * o(x) for w, o in zip(weights, op.operations, strict=True)]).sum(0)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_mixture_of_all_channels_is_the_printed_sum(stride: int) -> None:
    op, x = mixed(DARTS_OPERATIONS, 4, stride), images(2, 4, 7, 6)
    weights = torch.arange(1.0, 9.0, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(op(x, weights), plain(op, x, weights))
    op(x, weights).square().sum().backward()
    assert weights.grad[0] == 0 and (weights.grad[1:] != 0).all()


@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_mix_the_first_part_and_deal_the_channels_anew(stride: int, size) -> None:
    op, x = mixed(stride=stride, partial_channels=4), images(2, 8, *size)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    found = op(x, weights)
    first = plain(op, x[:, :2], weights)
    rest = x[:, 2:] if stride == 1 else F.max_pool2d(F.pad(x[:, 2:], (0, 1, 0, 1), value=-1e9), 2)
    rest = rest[:, :, : first.shape[2], : first.shape[3]]
    before = [*first.unbind(1), *rest.unbind(1)]
    # Four groups of two channels: 0 2 4 6 1 3 5 7.
    torch.testing.assert_close(found, torch.stack([before[c] for c in (0, 2, 4, 6, 1, 3, 5, 7)], 1))


def test_k_1_is_the_plain_mixture_and_shuffling_with_one_group_does_nothing() -> None:
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    x = images(2, 8, 6, 6)
    torch.testing.assert_close(mixed(partial_channels=1)(x, weights), plain(mixed(), x, weights))


def test_chosen_operations_are_summed_and_the_others_never_run() -> None:
    op, x = mixed(pool_norm=False), images(2, 8, 5, 5)
    ran = []
    for number, candidate in enumerate(op.operations):
        candidate.register_forward_hook(lambda *_, number=number: ran.append(number))
    found = op(x, (False, True, True, False))
    assert ran == [1, 2]
    torch.testing.assert_close(found, F.max_pool2d(x, 3, 1, 1) + x)


def test_poolings_are_normalised_on_request_only() -> None:
    norms = [isinstance(m, nn.BatchNorm2d) for m in mixed(("avg_pool_3x3",)).modules()]
    assert sum(norms) == 1
    assert not any(isinstance(m, nn.BatchNorm2d) for m in mixed(("avg_pool_3x3",), pool_norm=False).modules())
    assert not [p for p in mixed().parameters() if p.ndim == 1]
