"""How much the gradient of the last layer differs from batch to batch (DS-Net, section 4.7, Fig. 7b)."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.func import functional_call

from advarch.errors import InputError
from advarch.metrics.measured import Measured
from advarch.metrics.robust_loss import adversarial, losses
from advarch.modes import attack_mode
from advarch.types import Attack, Images, Labels


def gradient_variance(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack | None = None,
    trades_beta: Annotated[float, Ge(0)] | None = None,
    bias: bool = True,
    batch_size: Annotated[int, Ge(1)] = 128,
    seed: int = 0,
) -> Measured:
    """E ||g - E g||^2, g the gradient of a batch's mean loss with respect to the last linear layer, E the mean over batches.

    Batches are taken in the order that the images come in; what does not fill one is left out. Norms use their running
    statistics.

    Args:
        model: the network; left as found, its gradients too.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        attack: makes the images of the loss; None takes the clean ones.
        trades_beta: TRADES' loss of that beta instead of cross entropy.
        bias: whether the layer's bias counts with its weights.
        batch_size: images of a batch. The variance falls as one over it, so compare equal ones only.
        seed: of the attack.

    Returns:
        Numbers: variance, its root's share of the mean gradient's length (relative_deviation), batches. Table: batch,
        its squared deviation ||g - E g||^2, and its squared length ||g||^2.

    Raises:
        InputError: a network without a linear layer, or images for fewer than two batches.
    """
    batches = len(x) // batch_size
    if batches < 2:
        raise InputError(
            f"gradient_variance: batch_size: expected images for at least two batches, came {len(x)} for batches of {batch_size}; "
            "take more images or a smaller batch_size"
        )
    layer = _last_linear(model)
    x, y = x[: batches * batch_size], y[: batches * batch_size]
    with attack_mode(model, "eval"):
        x_adv = adversarial(
            model, x, y, attack=attack, trades_beta=trades_beta, batch_size=batch_size, seed=seed
        )
        leaves = {
            name: weight.detach().clone().requires_grad_()
            for name, weight in model.named_parameters()
            if name == f"{layer}.weight" or (bias and name == f"{layer}.bias")
        }

        def logits(images: Tensor) -> Tensor:
            return functional_call(model, leaves, (images,))

        gradients = []
        for clean, moved, labels in zip(*(part.split(batch_size) for part in (x, x_adv, y)), strict=True):
            loss = losses(logits, clean, moved, labels, trades_beta=trades_beta).mean()
            found = torch.autograd.grad(loss, list(leaves.values()))
            gradients.append(torch.cat([part.flatten() for part in found]).double())
    return _measured(torch.stack(gradients))


def _last_linear(model: nn.Module) -> str:
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise InputError(
            "gradient_variance: expected a network that ends with a linear layer, came one without; leave it out"
        )
    return names[-1]


def _measured(gradients: Tensor) -> Measured:
    """Of the gradients (batches, weights)."""
    mean = gradients.mean(0)
    deviations = (gradients - mean).square().sum(1)
    variance = deviations.mean().item()
    return Measured(
        {
            "variance": variance,
            "relative_deviation": variance**0.5 / max(mean.norm().item(), torch.finfo().tiny),
            "batches": len(gradients),
        },
        {
            "batch": list(range(1, len(gradients) + 1)),
            "deviation": deviations.tolist(),
            "length": gradients.square().sum(1).tolist(),
        },
    )
