"""The Square attack: random search with square changes, from the model's outputs alone."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from advarch.asked import about, quiet, tell
from advarch.attacks.square_search import Proposals, fractions, search
from advarch.attacks.square_windows import L2Windows, LinfWindows, draw, tile_corners
from advarch.attacks.targets import rows_together
from advarch.modes import frozen_parameters
from advarch.noise import Generator, child, pick, ready, uniform
from advarch.threat import Threat, check_images


@torch.no_grad()
def square(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    queries: Annotated[int, Ge(0)],
    p_init: Annotated[float, Gt(0), Le(1)] = 0.8,
    rescale: bool = False,
    restarts: Annotated[int, Ge(1)] = 1,
    max_rows: Annotated[int, Ge(1)] | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Square (Andriushchenko et al. 2020): keep a random square change if the margin max_{j != y} z_j - z_y rises.

    l_inf: from vertical stripes of +-eps, a square window goes to +-eps with one sign for each channel. l_2: from a grid of
    tiles, a window takes over the mass of another. The window shrinks as the queries go: see `square_search.fractions`.
    Each image has its own windows, where the published code shares them over the batch, so a result does not depend on
    the batch; and a corner may be any at which the window fits, as in the paper, where the published code leaves out the
    last row and column. An image leaves at its first misclassified point, here as there.

    Args:
        model: images -> logits, always the same for the same image. Its flags and statistics are left as found.
        x: images (batch, channel, height, width) in [0, 1], of any shape.
        y: labels (batch,).
        threat: the ball.
        queries: proposals for each image, after the one forward pass of its start.
        p_init: share of the pixels that the first windows cover.
        rescale: stretch the schedule of the window's size, made for 10,000 queries, to `queries`. AutoAttack does not.
        restarts: runs from new starts, each of the images that still stand.
        max_rows: images in one forward pass, unless there are more; None is what suits the device, see
            `targets.rows_together`. Only speed and memory depend on it.
        generator: source of starts and windows.

    Returns:
        Images inside ball and box. A misclassified image comes back as it is, and one that never falls at the point of
        largest margin, where the published code returns the clean image.

    Raises:
        ValueError: images outside [0, 1] or of integer type.
    """
    check_images(x)
    x_adv = x.detach().clone()
    if not len(x) or threat.eps == 0:
        return x_adv
    generator = ready(generator)
    shares = fractions(queries, p_init, rescale)
    with frozen_parameters(model):
        active = (quiet(model)(x).argmax(1) == y).nonzero().squeeze(1)
        most = torch.full((len(x),), -torch.inf, device=x.device)
        for restart in range(restarts):
            if not len(active):
                break
            own = pick(child(generator, restart), active)
            proposals = _proposals(x[active].detach(), threat, shares, own)
            found = search(quiet(model), y[active], proposals, queries, rows_together(x, max_rows))
            tell(about(model, active), found.queries)
            better = found.fooled | (found.margin > most[active])
            x_adv[active[better]] = found.points[better]
            most[active] = torch.maximum(most[active], found.margin.to(most.dtype))
            active = active[~found.fooled]
    return x_adv


def _proposals(x: Tensor, threat: Threat, shares: list[float], generator: Generator) -> Proposals:
    """The start and all proposals of one run, drawn per example."""
    height, width = x.shape[2:]
    if threat.linf:
        sizes = LinfWindows.sides(shares, height, width).to(x.device)
        stripes = LinfWindows.stripes(x, generator)
        return LinfWindows(x, threat.eps, sizes, stripes, draw(x, sizes, 1, generator))
    sizes = L2Windows.sides(shares, height, width).to(x.device)
    tiles = len(tile_corners(height, width)[1])
    numbers = uniform(x.new_empty(len(x), tiles, x.shape[1] + 1), generator)
    sign = torch.where(numbers[..., :-1] < 0.5, -1.0, 1.0)
    return L2Windows(x, threat.eps, sizes, sign, numbers[..., -1] > 0.5, draw(x, sizes, 2, generator))
