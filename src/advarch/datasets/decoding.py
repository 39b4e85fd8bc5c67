"""What the worker processes of a loader run: an index in, a decoded and augmented image out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from advarch.datasets.augment import draw_turns, turn_and_cut
from advarch.datasets.images import LazyImages
from advarch.errors import InputError
from advarch.noise import derive_seed


class Decoding(Dataset[Any]):
    """An index in, a decoded image out, or the message of the error."""

    def __init__(
        self,
        images: LazyImages,
        y: np.ndarray,
        seed: int,
        epoch: int,
        *,
        augment: bool,
        flip: bool,
        rotation: float | None,
        cutout: int | None,
    ) -> None:
        self.images, self.y, self.seed, self.epoch = images, y, seed, epoch
        self.augment, self.flip, self.rotation, self.cutout = augment, flip, rotation, cutout

    def __getitem__(self, index: int) -> tuple[Tensor, int, int] | str:
        generator = torch.Generator().manual_seed(derive_seed("decode", self.seed, self.epoch, index))
        try:
            image = self.images.decode(index, generator, train=self.augment)
        except InputError as error:
            return str(error)  # raised here, it would reach the user wrapped in a worker's traceback
        if self.flip and torch.randint(0, 2, (), generator=generator):
            image = image.flip(-1)
        if self.rotation or self.cutout:
            seed = derive_seed("turn", self.seed, self.epoch, index)
            turns = draw_turns(1, *image.shape[1:], rotation=self.rotation or 0, seed=seed)
            image = turn_and_cut(image[None], turns, rotation=self.rotation, cutout=self.cutout)[0]
        return image, int(self.y[index]), index


def collate(examples: Sequence[tuple[Tensor, int, int] | str]) -> tuple[Tensor, Tensor, Tensor] | str:
    """The examples as one batch (x uint8, y, index), or the message of the first that could not be decoded."""
    for example in examples:
        if isinstance(example, str):
            return example
    images, labels, indices = zip(*examples, strict=True)
    return torch.stack(images), torch.tensor(labels), torch.tensor(indices)
