"""Each batch several times in a row, for a defense that takes several steps on it."""

from collections.abc import Iterator
from typing import Any

from advarch.datasets.loaders import Loader
from advarch.datasets.phases import PhasedLoader
from advarch.types import Batch


class Replayed:
    """A loader whose batches come `times` in a row; its protocol is that of the loader itself.

    Attributes:
        start_batch: of these repeated batches, how many to skip once.
    """

    def __init__(self, loader: Loader | PhasedLoader, times: int) -> None:
        self.loader, self.times = loader, times
        self.start_batch = 0

    def __len__(self) -> int:
        return len(self.loader) * self.times

    @property
    def sampler(self) -> Any:
        """By which Lightning finds `set_epoch`."""
        return self.loader

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        self.loader.start_batch, skip = divmod(self.start_batch, self.times)
        self.start_batch = 0
        for batch in self.loader:
            for _ in range(skip, self.times):
                yield batch
            skip = 0
