"""Second order against the gradient that autograd takes through the virtual step."""

import torch
from torch import Tensor

from advarch.search.unrolled import unrolled_gradient


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    w, a, b, c, u = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(5))
    return w.requires_grad_(), a.requires_grad_(), b, c, u


def train_loss(w: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return ((w * a.tanh() - b) ** 2).sum() + (w**2 * a).sin().sum()


def val_loss(w: Tensor, a: Tensor, c: Tensor) -> Tensor:
    return ((w * a.exp() - c) ** 2).sum()


def test_it_is_the_gradient_through_the_virtual_step() -> None:
    w, a, b, c, u = problem()
    for drift in (None, [u]):
        (slope,) = torch.autograd.grad(train_loss(w, a, b), w, create_graph=True)
        ahead = w - 0.03 * (slope + (0 if drift is None else u))
        value = val_loss(ahead, a, c)
        (exact,) = torch.autograd.grad(value, a)
        before = w.detach().clone()
        loss, (found,) = unrolled_gradient(
            lambda: train_loss(w, a, b),
            lambda: val_loss(w, a, c),
            weights=[w],
            arch=[a],
            rate=0.03,
            drift=drift,
        )
        torch.testing.assert_close(loss, value.detach())
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
        assert torch.equal(w.detach(), before) and w.requires_grad
        # The direct part alone is something else.
        assert (torch.autograd.grad(val_loss(ahead.detach(), a, c), a)[0] - exact).abs().max() > 1e-2


def test_rate_zero_is_first_order_and_weights_come_back_after_an_error() -> None:
    w, a, b, c, _ = problem()
    _, (found,) = unrolled_gradient(
        lambda: train_loss(w, a, b), lambda: val_loss(w, a, c), weights=[w], arch=[a], rate=0.0
    )
    torch.testing.assert_close(found, torch.autograd.grad(val_loss(w, a, c), a)[0])
    before = w.detach().clone()

    def broken() -> Tensor:
        raise RuntimeError("no data")

    try:
        unrolled_gradient(lambda: train_loss(w, a, b), broken, weights=[w], arch=[a], rate=0.1)
    except RuntimeError:
        assert torch.equal(w.detach(), before)
    else:
        raise AssertionError
