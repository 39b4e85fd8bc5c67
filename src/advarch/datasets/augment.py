"""Random crops and flips of a whole batch at once, wherever the batch lies."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Draws(NamedTuple):
    """What was drawn for each image of a batch: `top` and `left` int64 (batch,), `flip` bool (batch,)."""

    top: Tensor
    left: Tensor
    flip: Tensor


def draw(count: int, *, crop_pad: int, flip: bool, seed: int) -> Draws:
    """Draw crops, uniform over (2 crop_pad + 1)^2 places, and flips, one half.

    The numbers come from a generator on the CPU, so a run on an accelerator sees the same images.

    Args:
        count: images of the batch.
        crop_pad: pixels of zero padding on each side; 0 leaves every image in its place.
        flip: mirror half of the images; else none.
        seed: of the draws, 63 bits.
    """
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(0, 2 * crop_pad + 1, (2, count), generator=generator)
    mirrored = torch.randint(0, 2, (count,), generator=generator).bool()
    return Draws(top=places[0], left=places[1], flip=mirrored & flip)


def crop_and_flip(x: Tensor, draws: Draws, *, crop_pad: int) -> Tensor:
    """Pad with zeros, cut a window of the old size out of each image, mirror some windows.

    Args:
        x: uint8 (batch, channel, height, width).
        draws: the window's place in the padded image, 0 to 2 crop_pad, and whether it is mirrored.
        crop_pad: pixels of padding on each side.

    Returns:
        uint8, shaped as `x`.
    """
    batch, channel, height, width = x.shape
    padded = functional.pad(x, (crop_pad,) * 4)
    top, left, flip = (each.to(x.device) for each in draws)
    columns = torch.arange(width, device=x.device).expand(batch, width)
    columns = left[:, None] + torch.where(flip[:, None], columns.flip(1), columns)
    rows = top[:, None] + torch.arange(height, device=x.device)
    return padded[
        torch.arange(batch, device=x.device)[:, None, None, None],
        torch.arange(channel, device=x.device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
