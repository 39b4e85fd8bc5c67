"""What a dataset is: two parts of byte images with labels, and the names of the classes."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from advarch.errors import InputError


@runtime_checkable
class LazyImages(Protocol):
    """Images that lie in files and are decoded one at a time, when a batch asks for them."""

    def __len__(self) -> int: ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of every decoded image."""
        ...

    def decode(self, index: int, generator: torch.Generator | None, *, train: bool) -> Tensor:
        """Image `index` as uint8 (channel, height, width); `train` crops it at random, from `generator`."""
        ...


Images: TypeAlias = np.ndarray | LazyImages


@dataclass(frozen=True, eq=False)
class Part:
    """Images and labels of the training or of the test set.

    Attributes:
        x: uint8 (n, channel, height, width), possibly memory-mapped, or images that are decoded lazily.
        y: int64 (n,).
        pseudo: bool (n,), True where the label was guessed by a model (the 500,000 extra images of RST); None
            where every label is a person's.
    """

    x: Images
    y: np.ndarray
    pseudo: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.y) == 0:
            raise InputError("expected at least one image in each part of a dataset, came none; add images")
        if isinstance(self.x, np.ndarray) and (self.x.dtype != np.uint8 or self.x.ndim != 4):
            raise InputError(
                "expected images as uint8 (n, channel, height, width), came "
                f"{self.x.dtype} {self.x.shape}; convert them to bytes 0 to 255"
            )
        if self.y.dtype != np.int64 or self.y.shape != (len(self.x),):
            raise InputError(
                f"expected labels as int64 ({len(self.x)},), one for each image, came {self.y.dtype} "
                f"{self.y.shape}; "
                "give one class number for each image"
            )
        if self.pseudo is not None and (self.pseudo.dtype != np.bool_ or self.pseudo.shape != self.y.shape):
            raise InputError(
                f"expected `pseudo` as bool {self.y.shape}, came {self.pseudo.dtype} {self.pseudo.shape}; "
                "give one flag for each image"
            )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channel, height, width)."""
        if isinstance(self.x, np.ndarray):
            _, channel, height, width = self.x.shape
            return channel, height, width
        return self.x.image_shape


@dataclass(frozen=True, eq=False)
class ImageData:
    """A dataset as a reader returns it. The test part is the official one, never trained or selected on."""

    name: str
    train: Part
    test: Part
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.train.image_shape != self.test.image_shape:
            raise InputError(
                f"expected training and test images of one shape in {self.name}, came "
                f"{self.train.image_shape} and "
                f"{self.test.image_shape}; resize one of them"
            )
        if len(self.classes) < 2:
            raise InputError(
                f"expected at least 2 classes in {self.name}, came {len(self.classes)}; a classifier needs "
                "two"
            )
        for where, part in (("training", self.train), ("test", self.test)):
            low, high = int(part.y.min()), int(part.y.max())
            if low < 0 or high >= len(self.classes):
                raise InputError(
                    f"expected labels from 0 to {len(self.classes) - 1} in the {where} part of {self.name}, "
                    "came "
                    f"{low} to {high}; number the classes from 0"
                )
