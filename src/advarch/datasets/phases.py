"""Training in phases: images and batches of another size from some epoch on (Fast adversarial training on ImageNet)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, final

import numpy as np
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from advarch.datasets.images import Part
from advarch.datasets.lazy import LazyFolder
from advarch.datasets.loaders import Loader
from advarch.errors import InputError
from advarch.types import Batch


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        epochs: how long.
        batch_size: images of one batch, all devices together.
        image_size: height and width of a training image, pixels.
        resize: of pictures that are decoded lazily, the shorter side before the random crop, pixels; None crops from the
            picture as it is.
    """

    epochs: Annotated[int, Ge(1)]
    batch_size: Annotated[int, Ge(1)]
    image_size: Annotated[int, Ge(1)]
    resize: Annotated[int, Ge(1)] | None = None


def part_in(part: Part, phase: Phase) -> Part:
    """The part as a phase decodes it; images that are decoded already stay, and `PhasedLoader` resizes their batches.

    Raises:
        InputError: `resize` with images that are decoded already.
    """
    if isinstance(part.x, LazyFolder):
        return replace(part, x=replace(part.x, image_size=phase.image_size, resize=phase.resize))
    if isinstance(part.x, np.ndarray) and phase.resize is not None:
        raise InputError(
            f"expected dataset.phases without resize for images that are decoded already, came {phase.resize}; "
            "set it to null"
        )
    return part


@final
class PhasedLoader:
    """The loader of each epoch's phase, in the protocol of a loader; `len` is the present epoch's.

    Only the present phase's loader exists: one may hold its images on the device.

    Attributes:
        epoch: whose batches come next.
        start_batch: batches to skip once, in the next iteration.
        steps: batches of each epoch.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        make: Callable[[Phase], Loader],
        count: Callable[[Phase], int],
    ) -> None:
        """Plan the epochs.

        Args:
            phases: in order.
            make: the loader of a phase.
            count: the batches of an epoch of a phase; raises InputError where the phase can't be had.
        """
        self.epoch = 0
        self.start_batch = 0
        self._phases = [phase for phase in phases for _ in range(phase.epochs)]
        self.steps = tuple(count(phase) for phase in self._phases)
        self._make = make
        self._made: tuple[Phase, Loader] | None = None

    def __len__(self) -> int:
        return self.steps[self.epoch]

    @property
    def sampler(self) -> "PhasedLoader":
        """This loader: Lightning calls `loader.sampler.set_epoch(epoch)`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        phase = self._phases[self.epoch]
        loader = self._loader(phase)
        loader.set_epoch(self.epoch)
        loader.start_batch, self.start_batch = self.start_batch, 0
        for batch in loader:
            yield batch._replace(x=resized(batch.x, phase.image_size))

    def _loader(self, phase: Phase) -> Loader:
        if self._made is None or self._made[0] != phase:
            self._made = None
            self._made = phase, self._make(phase)
        return self._made[1]


def resized(x: Tensor, size: int) -> Tensor:
    """Images in [0, 1] at size x size pixels, bilinear with antialiasing; as they are where that is their size."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True).clamp(0.0, 1.0)
