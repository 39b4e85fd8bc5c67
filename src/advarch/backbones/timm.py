"""Any network of the timm library by name, its stem adapted to small images on request."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge
from torch import nn

SUGGESTIONS = 5

POOLS = ("maxpool", "features.pool0")
"""What timm calls a max-pool that belongs to the stem."""


def timm_network(
    *,
    classes: Annotated[int, Ge(2)] | None,
    in_channels: Annotated[int, Ge(1)],
    name: str,
    small_stem: bool = False,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """timm's network of that name with new weights.

    Args:
        classes: number of logits; None leaves the network's own.
        in_channels: channels of the images.
        name: as `timm.list_models()` has it.
        small_stem: give the first convolution stride 1 (a larger one than 3x3 becomes 3x3) and take out the stem's max-pool, so
            that 32x32 images are not down to 8x8 before the first block.
        options: what else the network's constructor takes, such as `{img_size: 32, patch_size: 4}` of a vision transformer.

    Raises:
        ValueError: no such network, an option it does not take, or a small stem where there is none to be had.
    """
    import timm  # takes seconds, and nothing else here needs it

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=SUGGESTIONS, cutoff=0.5)
        hint = f"did you mean one of {', '.join(near)}?" if near else "timm.list_models() has them all"
        raise ValueError(f"name: unknown timm network {name!r}; {hint}")
    settings = dict(options or {})
    if classes is not None:
        settings["num_classes"] = classes
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, in_chans=in_channels, **settings)
    except TypeError as error:
        raise ValueError(
            f"options: expected what {name} takes, came {sorted(options or {})} ({error})"
        ) from None
    if small_stem:
        _adapt(network, name)
    return network


def _adapt(network: nn.Module, name: str) -> None:
    """Make the stem one for small images, in place."""
    modules = dict(network.named_modules())
    where = getattr(network, "default_cfg", {}).get("first_conv", "")
    first = modules.get(where) if isinstance(where, str) else None
    if not isinstance(first, nn.Conv2d):
        raise ValueError(f"small_stem: expected a network whose first convolution timm names, came {name}")
    if first.kernel_size == first.stride:
        raise ValueError(
            f"small_stem: {name} cuts the image into patches; take smaller ones in options, such as patch_size"
        )
    if first.kernel_size > (3, 3):
        small = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
        _replace(network, where, small)
    else:
        first.stride = (1, 1)
    for pool in POOLS:
        if pool in modules:
            _replace(network, pool, nn.Identity())


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
