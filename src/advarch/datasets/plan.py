"""Which images make up which batch of which epoch, and which process of how many takes which of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from advarch.errors import InputError
from advarch.noise import derive_seed


@dataclass(frozen=True)
class Plan:
    """The batches of every epoch, a function of (seed, epoch) only.

    Attributes:
        count: images to go through.
        batch_size: images of one batch, all processes together.
        shuffle: a new order every epoch; else the given one.
        drop_last: leave out the images that don't fill a batch.
        seed: of the order.
        rank: of this process; it takes images rank, rank + world_size, ... of each batch.
        world_size: number of processes.
    """

    count: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    seed: int
    rank: int
    world_size: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(
                "expected at least 1 image to load, came none; choose a larger part of the dataset"
            )
        if self.batch_size < 1 or not 0 <= self.rank < self.world_size:
            raise InputError(
                "expected batch_size >= 1 and 0 <= rank < world_size, came "
                f"batch_size={self.batch_size}, rank={self.rank}, world_size={self.world_size}; mend these"
            )
        if self.drop_last and self.count < self.batch_size:
            raise InputError(
                f"expected at least one full batch of dataset.batch_size={self.batch_size}, came "
                f"{self.count} images; "
                f"set dataset.batch_size to at most {self.count}"
            )
        if self.drop_last and self.batch_size % self.world_size:
            # The mean of the processes' gradients is the gradient of the batch only if all have equally many
            # images.
            raise InputError(
                f"expected dataset.batch_size to be a multiple of the {self.world_size} processes, came "
                f"{self.batch_size}; set it to {max(1, self.batch_size // self.world_size) * self.world_size}"
            )
        if not self.drop_last and min(self.batch_size, self.count) < self.world_size:
            raise InputError(
                f"expected at least one image in a batch for each of {self.world_size} processes, came "
                f"{min(self.batch_size, self.count)}; use fewer devices"
            )

    def __len__(self) -> int:
        return len(self.sizes())

    def sizes(self) -> list[int]:
        """Images in each batch, all processes together.

        A last batch too small to give each process an image is joined to the one before: a process with an
        empty batch would have one step less than the others, and they would wait for it for ever.
        """
        full, rest = divmod(self.count, self.batch_size)
        sizes = [self.batch_size] * full
        if rest and not self.drop_last:
            if rest < self.world_size:
                sizes[-1] += rest
            else:
                sizes.append(rest)
        return sizes

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Tensor]]:
        """(number, positions) of each batch from `start` on: int64 in [0, count), all processes together."""
        sizes = self.sizes()
        if not 0 <= start <= len(sizes):
            raise InputError(
                f"expected to start at batch 0 to {len(sizes)}, came {start}; the epoch has no more"
            )
        order = torch.arange(self.count)
        if self.shuffle:
            generator = torch.Generator().manual_seed(derive_seed("order", self.seed, epoch))
            order = torch.randperm(self.count, generator=generator)
        for number, positions in enumerate(order[: sum(sizes)].split(sizes)):
            if number >= start:
                yield number, positions

    def share(self, batch: Tensor) -> Tensor:
        """What this process takes of a batch, or of numbers drawn for each of its images."""
        return batch[self.rank :: self.world_size]
