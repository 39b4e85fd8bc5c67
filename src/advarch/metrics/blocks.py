"""What the blocks of any network are called, and what they put out."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from advarch.layers.normalisation import Normalise

Outputs = dict[str, Tensor]
"""Of each block by name, in the order of the forward pass: (batch, ...)."""


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a network by name: what stands in a row in its `Sequential`s and `ModuleList`s and has parts of its own.

    Residual blocks in their stages, cells, DS-Net's modules, inverted residuals, a transformer's blocks. Where there are
    none (VGG), its convolutions. Names are those of `named_modules`.
    """
    prefix, network = "", model
    while isinstance(network, nn.Sequential) and len(network) == 2 and isinstance(network[0], Normalise):
        prefix, network = f"{prefix}1.", network[1]
    return dict(_in_rows(network, prefix)) or {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)
    }


@contextmanager
def watching(modules: dict[str, nn.Module]) -> Iterator[Outputs]:
    """Fill a mapping with what these modules put out in every forward pass in this block; the last pass counts."""
    outputs: Outputs = {}

    def note(name: str) -> object:
        def hook(module: nn.Module, args: object, output: object) -> None:
            del module, args
            if isinstance(output, Tensor):
                outputs.pop(name, None)
                outputs[name] = output

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]  # type: ignore[arg-type]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _in_rows(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The blocks in the rows of a module; where it has no row that holds one, those of its parts."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        for name, item in module.named_children():
            if isinstance(item, nn.Sequential | nn.ModuleList):
                yield from _in_rows(item, f"{prefix}{name}.")
            elif any(True for _ in item.children()):
                yield f"{prefix}{name}", item
        return
    children = dict(module.named_children())
    rows = [
        found
        for name, child in children.items()
        if isinstance(child, nn.Sequential | nn.ModuleList)
        for found in _in_rows(child, f"{prefix}{name}.")
    ]
    yield from rows or (
        found for name, child in children.items() for found in _in_rows(child, f"{prefix}{name}.")
    )
