"""Power iteration against dense singular values."""

from itertools import pairwise

import torch

from advarch.metrics.power_iteration import power_iteration


def directions(*shape: int) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return drawn / drawn.norm(dim=-1, keepdim=True)


def test_the_value_is_the_largest_singular_value() -> None:
    for rows, columns in ((8, 27), (27, 8), (1, 9), (9, 1)):
        matrices = torch.randn(5, rows, columns, generator=torch.Generator().manual_seed(0)).double()
        values, u = power_iteration(matrices, directions(5, rows), iterations=400)
        torch.testing.assert_close(values, torch.linalg.svdvals(matrices)[:, 0], rtol=1e-6, atol=0)
        left = torch.linalg.svd(matrices).U[:, :, 0]
        torch.testing.assert_close((u * left).sum(-1).abs(), torch.ones(5).double(), rtol=1e-5, atol=0)


def test_it_rises_from_below_and_goes_on_where_it_stopped() -> None:
    matrices = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    whole, _ = power_iteration(matrices, directions(3, 6), iterations=7)
    u, seen = directions(3, 6), []
    for _ in range(7):
        value, u = power_iteration(matrices, u)
        seen.append(value)
    torch.testing.assert_close(seen[-1], whole)
    assert all((after >= before - 1e-12).all() for before, after in pairwise(seen))
    assert (whole <= torch.linalg.svdvals(matrices)[:, 0] + 1e-12).all()


def test_zeros_have_norm_zero_and_keep_their_direction() -> None:
    u = directions(2, 4)
    value, after = power_iteration(torch.zeros(2, 4, 3).double(), u, iterations=3)
    assert value.tolist() == [0, 0] and torch.equal(after, u)
