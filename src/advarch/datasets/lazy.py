"""Pictures too many or too large to keep decoded: each is opened when a batch asks for it."""

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from advarch.datasets.decode import fit, open_rgb, resized
from advarch.errors import InputError

SCALE = (0.08, 1.0)
"""Area of a random crop as a share of the picture (Szegedy et al., 2015; torchvision's RandomResizedCrop)."""

RATIO = (3 / 4, 4 / 3)
"""Width over height of a random crop (the same)."""

TRIES = 10
"""Draws until a crop lies within the picture; then the largest central crop within `RATIO` (same)."""

TEST_SHARE = 224 / 256
"""At test time the shorter side is resized to 256 for a central crop of 224 (ImageNet's custom)."""

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class LazyFolder:
    """Picture files, decoded one at a time.

    Attributes:
        paths: of the files.
        image_size: height and width of a decoded picture, pixels.
        resize: shorter side before the random crop of training, pixels; None crops from the picture as it is.
    """

    paths: tuple[str, ...]
    image_size: int
    resize: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, image_size, image_size)."""
        return 3, self.image_size, self.image_size

    def decode(self, index: int, generator: torch.Generator | None, *, train: bool) -> Tensor:
        """Picture `index` as uint8 (3, image_size, image_size).

        Args:
            index: of the file.
            generator: where the random crop comes from; not used without `train`.
            train: a random crop, resized; else the shorter side resized to 256/224 of the size and the centre
                cropped.

        Raises:
            InputError: the file can't be decoded.
        """
        path = self.paths[index]
        try:
            # EXIF orientation is ignored, as in the ImageNet pipelines that published numbers come from.
            image = open_rgb(path, upright=False)
        except MemoryError:
            raise
        except Exception as error:  # a broken file makes Pillow raise almost anything
            raise InputError(
                f"expected a readable picture {path}, came: {error}; unpack the dataset once more"
            ) from error
        if train:
            image = image if self.resize is None else _shorter_side(image, self.resize)
            box = random_box(image.width, image.height, generator)
            return torch.from_numpy(resized(image, box, self.image_size))
        return torch.from_numpy(fit(_central(image, TEST_SHARE), self.image_size))


def random_box(width: int, height: int, generator: torch.Generator | None) -> Box:
    """The box of a random crop: area uniform in `SCALE`, aspect ratio log-uniform in `RATIO`, place uniform.

    The law of torchvision's RandomResizedCrop, drawn from `generator` instead of the global random state.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        generator: None draws as a generator seeded with 0.
    """
    generator = generator or torch.Generator().manual_seed(0)
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(TRIES):
        share, log_ratio, across, down = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        area = width * height * (SCALE[0] + (SCALE[1] - SCALE[0]) * share)
        ratio = math.exp(low + (high - low) * log_ratio)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(across * (width - w + 1)), int(down * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _shorter_side(image: Image.Image, side: int) -> Image.Image:
    """The picture, its shorter side that long and its proportions kept."""
    scale = side / min(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _central(image: Image.Image, share: float) -> Image.Image:
    """The central square whose side is `share` of the shorter side."""
    side = max(1, round(min(image.size) * share))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
