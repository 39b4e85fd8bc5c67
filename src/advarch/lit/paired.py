"""Two loaders side by side: a batch that trains weights and one that trains the architecture."""

from collections.abc import Iterator

from advarch.datasets.loaders import Loader
from advarch.search.method import Batches
from advarch.types import Batch


class Paired:
    """A loader of `Batches`, as long as the shorter of its two; its protocol is theirs.

    Args:
        weights: of one half.
        arch: of the other. None: batches without images.

    Attributes:
        start_batch: pairs to skip once.
    """

    def __init__(self, weights: Loader, arch: Loader | None) -> None:
        self.weights, self.arch = weights, arch
        self.start_batch = 0

    def __len__(self) -> int:
        return len(self.weights) if self.arch is None else min(len(self.weights), len(self.arch))

    @property
    def sampler(self) -> "Paired":
        """By which Lightning finds `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.weights.set_epoch(epoch)
        if self.arch is not None:
            self.arch.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batches]:
        self.weights.start_batch, start = self.start_batch, self.start_batch
        self.start_batch = 0
        if self.arch is None:
            for batch in self.weights:
                yield Batches(batch, Batch(*(part[:0] for part in batch)))
            return
        self.arch.start_batch = start
        # Halves of an odd number of images may differ by a batch.
        for pair in zip(self.weights, self.arch, strict=False):
            yield Batches(*pair)
