"""The step on a supernet's weights that differentiable searches share."""

from torch import Tensor, nn
from torch.optim import Optimizer

from advarch.defenses.contract import AfterBackward, TrainStep
from advarch.modes import frozen_parameters
from advarch.search.method import Loss, Searched
from advarch.types import Attack, Batch


def weight_step(
    model: nn.Module,
    supernet: Searched,
    batch: Batch,
    optimizer: Optimizer,
    *,
    defense: Loss,
    attack: Attack,
    step: TrainStep,
) -> dict[str, Tensor]:
    """One step on the weights by a defense's loss; the architecture is a constant in it. Returns the loss's terms.

    Args:
        model: images -> logits, the supernet or the supernet behind a normalisation.
        supernet: whose architecture stays.
        batch: of the half that trains weights.
        optimizer: of the weights.
        defense: the loss.
        attack: its attack.
        step: where in the search this is.
    """
    with frozen_parameters(supernet.arch):
        output = defense(model, batch.x, batch.y, attack=attack, step=step)
        optimizer.zero_grad()
        output.total.backward()
        if isinstance(defense, AfterBackward):
            defense.after_backward(model)
        optimizer.step()
    return output.terms
