"""One picture file -> bytes. Worker processes import this file, so it needs Pillow and NumPy only."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

VERSION = 1
"""Part of every cache's digest: raise it when the same file would decode to other bytes."""

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)

Outcome = np.ndarray | str
"""A decoded picture, or why the file is damaged."""


def decode_files(paths: Sequence[str], image_size: int) -> list[Outcome]:
    """Each file as uint8 (3, image_size, image_size), or the reason why it can't be decoded.

    Raises:
        OSError: the file can't be read at all (permission, disk, network): that is no damaged picture.
    """
    return [_decode(path, image_size) for path in paths]


def _decode(path: str, image_size: int) -> Outcome:
    try:
        return fit(open_rgb(path), image_size)
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # a broken file makes Pillow raise almost anything: SyntaxError, struct.error, ...
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # "cannot identify image file '/long/path'" names the file once more; the caller names it already.
        return " ".join(str(error).replace(f" '{path}'", "").split()) or type(error).__name__


def open_rgb(path: str | Path, *, upright: bool = True) -> Image.Image:
    """Open a picture as 8-bit RGB.

    Grey and palette pictures become RGB, 16-bit grey is divided by 257 (65,535 becomes 255), transparency is
    laid over white. Of an animation the first frame is taken.

    Args:
        path: of the file.
        upright: turn the picture as its EXIF orientation says.
    """
    with Image.open(path) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened) if upright else opened.copy()
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit values at 255, which turns such pictures white.
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        # The colour under transparent pixels is arbitrary; white is what a page would show.
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def fit(image: Image.Image, image_size: int) -> np.ndarray:
    """The largest central square, resized (bilinear, antialiased): uint8 (3, image_size, image_size).

    The same as resizing the shorter side and cropping the centre, except that the square lies on whole pixels
    and a very long picture is never enlarged as a whole.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return resized(image, (left, top, left + side, top + side), image_size)


def resized(image: Image.Image, box: tuple[int, int, int, int], image_size: int) -> np.ndarray:
    """The box (left, top, right, bottom) of an RGB picture, resized: uint8 (3, image_size, image_size)."""
    image = image.crop(box)
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
