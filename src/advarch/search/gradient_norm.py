"""The lower bound of a Lipschitz constant that a gradient is (RACL, before Eq. 16)."""

import torch
from torch import Tensor, nn

from advarch.attacks.objectives import cross_entropy
from advarch.types import Images, Labels


def loss_and_gradient_norm(model: nn.Module, x: Images, y: Labels) -> tuple[Tensor, Tensor, Tensor]:
    """Cross entropy, the l_2 norm of its gradient in the images, both means over the batch, and the logits.

    (1/B) sum F(x_i) and (1/B) sum ||grad_x F(x_i)||_2 <= lambda_F (Eq. 16); both can be differentiated further. The loss
    is that of one image, so neither depends on the size of the batch, batch normalisation aside.

    Args:
        model: images -> logits, in the mode it is in.
        x: images in [0, 1].
        y: labels.
    """
    x = x.detach().requires_grad_()
    logits = model(x)
    loss = cross_entropy(logits, y)
    (gradient,) = torch.autograd.grad(loss.sum(), x, create_graph=True)
    return loss.mean(), _lengths(gradient).mean(), logits.detach()


def _lengths(gradient: Tensor) -> Tensor:
    """Norms that can be differentiated at 0 too, where they give 0."""
    squares = gradient.flatten(1).square().sum(1)
    return torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)
