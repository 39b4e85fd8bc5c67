"""The gradient norm of a linear network in closed form, its derivative by finite differences."""

import torch
from torch import nn

from advarch.search.gradient_norm import loss_and_gradient_norm


def linear(dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).to(dtype)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, torch.tensor([0, 1, 2, 0, 1])


def test_a_linear_network_has_the_closed_form() -> None:
    net, (x, y) = linear(), batch()
    loss, length, logits = loss_and_gradient_norm(net, x, y)
    residual = logits.softmax(1) - nn.functional.one_hot(y, 3)
    torch.testing.assert_close(length.detach(), (residual @ net[1].weight.detach()).norm(dim=1).mean())
    torch.testing.assert_close(loss, nn.functional.cross_entropy(net(x), y))
    part, _, _ = loss_and_gradient_norm(net, x[:2], y[:2])
    rest, _, _ = loss_and_gradient_norm(net, x[2:], y[2:])
    torch.testing.assert_close(2 * part + 3 * rest, 5 * loss)


def test_the_norm_can_be_differentiated_in_the_weights() -> None:
    net, (x, y) = linear(), batch()
    weight = net[1].weight.detach().clone().requires_grad_()

    def length(w: torch.Tensor) -> torch.Tensor:
        return loss_and_gradient_norm(lambda z: z.flatten(1) @ w.T, x, y)[1]

    assert torch.autograd.gradcheck(length, weight)


def test_a_flat_network_has_gradient_zero_and_not_nan() -> None:
    flat = torch.zeros(3, 12, dtype=torch.float64, requires_grad=True)
    x, y = batch()
    length = loss_and_gradient_norm(lambda z: z.flatten(1) @ flat.T, x, y)[1]
    assert length == 0
    assert torch.isfinite(torch.autograd.grad(length, flat)[0]).all()
