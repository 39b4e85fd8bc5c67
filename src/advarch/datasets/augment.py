"""Random crops, flips, rotations and cutouts of a whole batch at once, wherever the batch lies."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Draws(NamedTuple):
    """What was drawn for each image of a batch: `top` and `left` int64 (batch,), `flip` bool (batch,)."""

    top: Tensor
    left: Tensor
    flip: Tensor


class Turns(NamedTuple):
    """What was drawn for each image of a batch: `degrees` float64, `row` and `column` of the cutout's centre int64, (batch,)."""

    degrees: Tensor
    row: Tensor
    column: Tensor


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


def draw_turns(count: int, height: int, width: int, *, rotation: float, seed: int) -> Turns:
    """Draw angles, uniform in [-rotation, rotation] degrees, and centres, uniform over the pixels; on the CPU, as `draw`.

    They have a stream of their own, so that crops and flips are the same with them and without.
    """
    generator = torch.Generator().manual_seed(seed)
    degrees = (2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1) * rotation
    row = torch.randint(0, height, (count,), generator=generator)
    return Turns(degrees, row, torch.randint(0, width, (count,), generator=generator))


def rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image counter-clockwise about its centre: nearest pixel, size kept, zero where nothing was.

    The pixel at (u, v) right of and below the centre is the old one at (u cos a - v sin a, u sin a + v cos a).

    Args:
        x: uint8 (batch, channel, height, width).
        degrees: a for each image, (batch,).
    """
    batch, channel, height, width = x.shape
    # Where each pixel comes from is found on the CPU in double precision: rounding is the same whatever holds the images.
    angle = torch.deg2rad(degrees.cpu().double())[:, None, None]
    u = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    v = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    columns = (u * angle.cos() - v * angle.sin() + (width - 1) / 2).round().long()
    rows = (u * angle.sin() + v * angle.cos() + (height - 1) / 2).round().long()
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    source = (rows * width + columns).where(inside, 0).view(batch, 1, -1).to(x.device)
    turned = x.flatten(2).gather(2, source.expand(-1, channel, -1)).view(x.shape)
    return turned * inside[:, None].to(x.device)


def cut_out(x: Tensor, row: Tensor, column: Tensor, *, size: int) -> Tensor:
    """Set a square of `size` pixels around (row, column) to zero; it may leave the image (DeVries & Taylor 2017).

    An even size reaches one pixel further up and left than down and right, as in the authors' code.

    Args:
        x: uint8 (batch, channel, height, width).
        row: of each centre, (batch,).
        column: of each centre, (batch,).
        size: side of the square, pixels.
    """
    height, width = x.shape[2:]
    down = torch.arange(height, device=x.device) - (row.to(x.device)[:, None] - size // 2)
    across = torch.arange(width, device=x.device) - (column.to(x.device)[:, None] - size // 2)
    down_hit, across_hit = (down >= 0) & (down < size), (across >= 0) & (across < size)
    return x * ~(down_hit[:, None, :, None] & across_hit[:, None, None, :])


def turn_and_cut(x: Tensor, turns: Turns, *, rotation: float | None, cutout: int | None) -> Tensor:
    """Rotate, then cut out; what is None or 0 is left out."""
    if rotation:
        x = rotate(x, turns.degrees)
    return cut_out(x, turns.row, turns.column, size=cutout) if cutout else x
