"""How far the flow through the cells of a network moves under attack: the FSP distance (RobNet, section 3.5)."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from advarch.backbones.cell_net import CellBlock
from advarch.backbones.supernet import MixedCell
from advarch.errors import InputError
from advarch.metrics.measured import Measured
from advarch.metrics.robust_loss import adversarial
from advarch.modes import attack_mode
from advarch.types import Attack, Images, Labels

CellInput = Literal["older", "newer"]

Resize = Literal["max", "average"]


def fsp_matrix(f_in: Tensor, f_out: Tensor, *, resize: Resize = "max") -> Tensor:
    """G = 1/(h w) sum_{s,t} F_in[:, s, t] F_out[:, s, t]^T (RobNet Eq. 3).

    Args:
        f_in, f_out: maps (batch, channels, height, width). Of maps of two sizes the larger is pooled to the smaller.
        resize: by maxima, as Yim et al. (2017) do, or by means.

    Returns:
        (batch, channels in, channels out).
    """
    height, width = (min(sides) for sides in zip(f_in.shape[2:], f_out.shape[2:], strict=True))
    pool: Callable[..., Tensor] = F.adaptive_max_pool2d if resize == "max" else F.adaptive_avg_pool2d
    a, b = (pool(maps, (height, width)) for maps in (f_in, f_out))
    return torch.einsum("nchw,ndhw->ncd", a, b) / (height * width)


def fsp(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    attack: Attack,
    cell_input: CellInput = "newer",
    resize: Resize = "max",
    deepest: Annotated[int, Ge(1)] = 10,
    batch_size: Annotated[int, Ge(1)] = 50,
    seed: int = 0,
) -> Measured:
    """L_l = 1/N sum_x ||G_l(x) - G_l(x')||_F^2 for every cell l (RobNet Eq. 4), x' = attack(x).

    Args:
        model: a network with cells, or a supernet on the path that it runs; left as found.
        x: images (batch, channel, height, width) in [0, 1].
        y: labels (batch,).
        attack: makes x'.
        cell_input: which of a cell's two inputs is F_in: the output of the cell before it, or of the one before that.
        resize: how maps of two sizes are made one: see `fsp_matrix`.
        deepest: how many of the last cells `deep` is the mean of; RobNet-free was searched by 10.
        batch_size: images at a time; it decides nothing.
        seed: of the attack.

    Returns:
        Numbers: deep, the mean of the deepest cells, and how many these are (deep_cells), the mean of all, clean and robust
        accuracy and their gap, in [0, 1]. Table: cell, from 0, distance, and its standard error over the images.

    Raises:
        InputError: a network without cells.
    """
    cells = [module for module in model.modules() if isinstance(module, CellBlock | MixedCell)]
    if not cells:
        raise InputError(
            "fsp: expected a network of cells, came one without; leave it out or choose a cell network, backbone=robnet_large"
        )
    place = ("older", "newer").index(cell_input)
    found: list[list[Tensor]] = [[] for _ in cells]

    def keep(number: int) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            # The clean images come first, the adversarial ones after them.
            clean, moved = fsp_matrix(inputs[place], output, resize=resize).chunk(2)
            found[number].append((clean - moved).square().sum((1, 2)).double())

        return hook

    right = torch.zeros(2, dtype=torch.float64)
    with attack_mode(model, "eval"), torch.no_grad():
        x_adv = adversarial(model, x, y, attack=attack, batch_size=batch_size, seed=seed)
        handles = [cell.register_forward_hook(keep(number)) for number, cell in enumerate(cells)]
        try:
            for batch in zip(*(part.split(batch_size) for part in (x, x_adv, y)), strict=True):
                logits = model(torch.cat(batch[:2]))
                right += (logits.argmax(1).view(2, -1) == batch[2]).sum(1).cpu()
        finally:
            for handle in handles:
                handle.remove()
    return _measured(torch.stack([torch.cat(parts) for parts in found]).cpu(), right / len(x), deepest)


def _measured(distances: Tensor, accuracy: Tensor, deepest: int) -> Measured:
    """Of the distances (cells, images) and the clean and robust accuracy."""
    means = distances.mean(1)
    errors = distances.std(1, correction=0) / distances.shape[1] ** 0.5
    clean, robust = accuracy.tolist()
    return Measured(
        {
            "deep": means[-deepest:].mean().item(),
            "deep_cells": min(deepest, len(means)),
            "mean": means.mean().item(),
            "clean_accuracy": clean,
            "robust_accuracy": robust,
            "gap": clean - robust,
        },
        {"cell": list(range(len(means))), "distance": means.tolist(), "error": errors.tolist()},
    )
