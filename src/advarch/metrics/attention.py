"""How much DS-Net attends to each block, module by module (Fig. 8)."""

import torch
from torch import nn

from advarch.backbones.ds_net import Module
from advarch.errors import InputError
from advarch.metrics.measured import Measured
from advarch.types import Images, Labels


def attention(model: nn.Module, x: Images, y: Labels) -> Measured:
    """The attention weights softmax(w)_j of every module (DS-Net Eq. 5); the images decide nothing.

    Args:
        model: a DS-Net.
        x, y: not looked at.

    Returns:
        Numbers: the largest weight, and entropy, the mean over the modules in nats: log(blocks) where all are equal.
        Table: module, from 1, block, weight, a row for each block of each module.

    Raises:
        InputError: a network without modules of parallel blocks.
    """
    del x, y
    modules = [module for module in model.modules() if isinstance(module, Module)]
    if not modules:
        raise InputError(
            "attention: expected a DS-Net, came another network; leave it out or set backbone=ds_net"
        )
    with torch.no_grad():
        weights = [module.weights().double().cpu() for module in modules]
    entropies = torch.stack([torch.special.entr(row).sum() for row in weights])
    return Measured(
        {
            "largest": max(row.max().item() for row in weights),
            "entropy": entropies.mean().item(),
        },
        {
            "module": [place for place, row in enumerate(weights, 1) for _ in row],
            "block": [_word(block) for module in modules for block in module.blocks],
            "weight": [weight for row in weights for weight in row.tolist()],
        },
    )


def _word(block: nn.Module) -> str:
    """ResNextBlock -> resnext: the word of `backbones.ds_net.Block`."""
    return type(block).__name__.removesuffix("Block").lower()
