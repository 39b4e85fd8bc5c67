"""MI-FGSM, the momentum iterative method."""

from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from advarch.asked import about
from advarch.attacks.objectives import cross_entropy
from advarch.modes import frozen_parameters
from advarch.noise import Generator
from advarch.threat import Threat, check_images, input_gradient
from advarch.types import Objective


def mim(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    steps: Annotated[int, Ge(1)],
    step_size: Annotated[float, Ge(0)] | None = None,
    decay: Annotated[float, Ge(0)] = 1.0,
    objective: Objective = cross_entropy,
    stop_on_success: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """MI-FGSM (Dong et al. 2018, Algorithm 1).

    g_{k+1} = decay * g_k + grad / ||grad||_1, x_{k+1} = P(x_k + step_size * sign(g_{k+1})), from g_0 = 0 and x_0 = x. The
    l_1 norm is each example's own. For l_2 the step is step_size * g / ||g||_2, as in the paper. P projects to ball and
    box; the ball only matters where step_size * steps exceeds eps.

    Args:
        model: images -> logits. Its flags, gradients and statistics are left as found; its mode is the caller's.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        threat: the ball.
        steps: gradient steps.
        step_size: length of a step, in units of pixels in [0, 1]; None is the paper's eps / steps.
        decay: the factor mu of the momentum; 0 is BIM.
        objective: gain per example, maximised.
        stop_on_success: leave an example at its first misclassified iterate. The published attack takes all steps.
        generator: not used; the attack draws nothing.

    Returns:
        Adversarial images, inside ball and box.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    del generator
    check_images(x)
    x = x.detach()
    length = threat.eps / steps if step_size is None else step_size
    result, x_adv = x.clone(), x
    momentum = torch.zeros_like(x)
    active = torch.arange(len(x), device=x.device)
    with frozen_parameters(model):
        for _ in range(steps):
            gradient, logits = input_gradient(about(model, active), x_adv, y, objective)
            if stop_on_success:
                standing = (logits.argmax(1) == y).nonzero().squeeze(1)
                active, x, y = active[standing], x[standing], y[standing]
                x_adv, momentum, gradient = x_adv[standing], momentum[standing], gradient[standing]
                if not len(active):
                    break
            momentum = decay * momentum + _l1_normalised(gradient)
            x_adv = threat.project(x_adv + length * threat.steepest(momentum), x)
            result[active] = x_adv
    return result


def _l1_normalised(gradient: Tensor) -> Tensor:
    """Each example's gradient over its l_1 norm; a zero gradient stays zero."""
    length = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
    return gradient / length.clamp(min=torch.finfo(gradient.dtype).tiny)
