"""How large the maps are that a network's convolutions see."""

import torch
from torch import nn

from advarch.modes import attack_mode
from advarch.types import Images


def map_sizes(model: nn.Module, x: Images) -> dict[str, tuple[int, int]]:
    """Height and width of what each convolution reads, by its name, in the order of the forward pass of the first image."""
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str) -> object:
        def hook(module: nn.Module, args: tuple[torch.Tensor]) -> None:
            del module
            sizes[name] = (args[0].shape[-2], args[0].shape[-1])

        return hook

    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    handles = [module.register_forward_pre_hook(note(name)) for name, module in convolutions.items()]  # type: ignore[arg-type]
    try:
        with attack_mode(model, "eval"), torch.no_grad():
            model(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    return sizes
