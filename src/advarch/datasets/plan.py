"""Which images make up which batch of which epoch, and which process of how many takes which of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from advarch.errors import InputError
from advarch.noise import derive_seed


@dataclass(frozen=True, eq=False)
class Mixture:
    """Two kinds of images in each batch in fixed shares: RST's, labelled by people and by a model.

    An epoch is as long as if there were the labelled images alone.

    Attributes:
        labelled: positions of the labelled images, int64.
        guessed: positions of those with guessed labels, int64.
        share: of guessed images in each batch, in (0, 1).
    """

    labelled: Tensor
    guessed: Tensor
    share: float

    def counts(self, batch_size: int) -> tuple[int, int]:
        """(labelled, guessed) images of a batch."""
        guessed = round(self.share * batch_size)
        return batch_size - guessed, guessed

    def check(self, batch_size: int, world_size: int) -> None:
        """Refuse what can't be dealt.

        Raises:
            InputError: a kind without images, or one that the processes can't share evenly.
        """
        counts = self.counts(batch_size)
        if not min(len(self.labelled), len(self.guessed)):
            raise InputError(
                f"expected labelled and pseudo-labelled images, came {len(self.labelled)} and {len(self.guessed)}; "
                "set dataset.pseudo_share to null, or use a dataset with both such as cifar10_500k"
            )
        if not min(counts) or any(count % world_size for count in counts):
            raise InputError(
                f"expected dataset.pseudo_share to leave each of {world_size} processes equally many images of both kinds, "
                f"came {counts[0]} labelled and {counts[1]} pseudo-labelled in dataset.batch_size={batch_size}; change it"
            )

    def order(self, batches: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Positions for that many batches, in each first the labelled, then the others, each kind in random order."""
        kinds = zip((self.labelled, self.guessed), self.counts(batch_size), strict=True)
        rows = [_cycled(kind, batches * count, generator).view(batches, count) for kind, count in kinds]
        return torch.cat(rows, dim=1).flatten()


def mixed(pseudo: np.ndarray | None, indices: np.ndarray, share: float) -> Mixture:
    """The mixture of the images `indices`, by their flags; positions count within `indices`."""
    guessed = np.zeros(len(indices), dtype=bool) if pseudo is None else pseudo[indices]
    labelled, others = (torch.from_numpy(np.flatnonzero(kind)) for kind in (~guessed, guessed))
    return Mixture(labelled, others, share)


def _cycled(positions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The first `count` of one random order after another: none twice before each was there once."""
    rounds = math.ceil(count / len(positions))
    orders = [positions[torch.randperm(len(positions), generator=generator)] for _ in range(rounds)]
    return torch.cat(orders)[:count]


@dataclass(frozen=True, eq=False)
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
        mixture: two kinds of images in fixed shares of each batch; None takes all images alike.
    """

    count: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    seed: int
    rank: int
    world_size: int
    mixture: Mixture | None = None

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

        if self.mixture is not None:
            self.mixture.check(self.batch_size, self.world_size)

    def __len__(self) -> int:
        return len(self.sizes())

    def sizes(self) -> list[int]:
        """Images in each batch, all processes together.

        A last batch too small to give each process an image is joined to the one before: a process with an
        empty batch would have one step less than the others, and they would wait for it for ever.
        """
        if self.mixture is not None:
            return [self.batch_size] * math.ceil(len(self.mixture.labelled) / self.batch_size)
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
            order = (
                torch.randperm(self.count, generator=generator)
                if self.mixture is None
                else self.mixture.order(len(sizes), self.batch_size, generator)
            )
        for number, positions in enumerate(order[: sum(sizes)].split(sizes)):
            if number >= start:
                yield number, positions

    def share(self, batch: Tensor) -> Tensor:
        """What this process takes of a batch, or of numbers drawn for each of its images."""
        return batch[self.rank :: self.world_size]
