"""From a part of a dataset to batches in [0, 1]: the same seed, the same batches, on any number of devices.

Both loaders speak the same protocol: iterate, `len`, `set_epoch`, `start_batch`, and `sampler`, by which
Lightning finds `set_epoch`. The epoch and the first batch are read when the first batch is asked for, not
when the iterator is made: Lightning makes it earlier.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from advarch.datasets.augment import crop_and_flip, draw, draw_turns, turn_and_cut
from advarch.datasets.decoding import Decoding, collate
from advarch.datasets.images import Part
from advarch.datasets.plan import Plan, mixed
from advarch.errors import InputError
from advarch.noise import derive_seed
from advarch.types import Batch


@final
class DeviceLoader:
    """Batches of images that stay as bytes on the device and are cropped and flipped there.

    The order of an epoch is a function of (seed, epoch); crops and flips are one of (seed, epoch, number of
    the batch, place in the batch). Both are drawn for the batch of all processes together, and process `rank`
    takes images rank, rank + world_size, ... of it: the processes' shares put together are the batch that one
    process would see. On the CPU the images stay where the part has them, possibly memory-mapped.

    Attributes:
        epoch: whose batches come next.
        start_batch: batches to skip once, in the next iteration: a run that stopped within an epoch goes on
            there.
    """

    def __init__(
        self,
        *,
        part: Part,
        indices: np.ndarray,
        batch_size: int,
        device: torch.device | str,
        shuffle: bool,
        drop_last: bool,
        crop_pad: int = 0,
        flip: bool = False,
        rotation: float | None = None,
        cutout: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pseudo_share: float | None = None,
    ) -> None:
        """Place the images.

        Args:
            part: images as an array.
            indices: which of them, int64; `Batch.index` holds these numbers.
            batch_size: images of one batch, all processes together.
            device: where the batches are made.
            shuffle: a new order every epoch.
            drop_last: leave out the images that don't fill a batch.
            crop_pad: zero padding of a random crop, pixels; 0 crops nothing.
            flip: mirror half of the images.
            rotation: turn each image by up to so many degrees, either way.
            cutout: set a square of so many pixels to zero in each image.
            seed: of order and augmentation.
            rank: of this process.
            world_size: number of processes.
            pseudo_share: share of each batch that is taken from the images whose labels were guessed; None takes
                all images alike.

        Raises:
            InputError: no batch would be left, or the processes can't share the batches.
        """
        if not isinstance(part.x, np.ndarray):
            raise InputError("expected images as an array, came files; load them with WorkerLoader")
        if crop_pad < 0:
            raise InputError(
                f"expected dataset.crop_pad of at least 0 pixels, came {crop_pad}; 0 crops nothing"
            )
        self.epoch = 0
        self.start_batch = 0
        self.device = torch.device(device)
        mixture = None if pseudo_share is None else mixed(part.pseudo, indices, pseudo_share)
        self._plan = Plan(len(indices), batch_size, shuffle, drop_last, seed, rank, world_size, mixture)
        self._crop_pad, self._flip = crop_pad, flip
        self._rotation, self._cutout = rotation, cutout
        self._indices = torch.from_numpy(np.asarray(indices, dtype=np.int64).copy())
        self._y = torch.from_numpy(part.y.copy())
        self._bytes: np.ndarray = part.x
        self._placed: Tensor | None = None
        if self.device.type != "cpu":
            self._placed = torch.from_numpy(np.array(part.x[indices])).to(self.device)

    def __len__(self) -> int:
        return len(self._plan)

    @property
    def sampler(self) -> "DeviceLoader":
        """This loader: Lightning calls `loader.sampler.set_epoch(epoch)`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        plan, epoch = self._plan, self.epoch
        start, self.start_batch = self.start_batch, 0
        for number, positions in plan.batches(epoch, start):
            mine = plan.share(positions)
            index = self._indices[mine]
            x = self._images(mine, index)
            if self._crop_pad or self._flip:
                seed = derive_seed("augment", plan.seed, epoch, number)
                draws = draw(len(positions), crop_pad=self._crop_pad, flip=self._flip, seed=seed)
                x = crop_and_flip(x, type(draws)(*map(plan.share, draws)), crop_pad=self._crop_pad)
            if self._rotation or self._cutout:
                seed = derive_seed("turn", plan.seed, epoch, number)
                turns = draw_turns(len(positions), *x.shape[2:], rotation=self._rotation or 0, seed=seed)
                turns = type(turns)(*map(plan.share, turns))
                x = turn_and_cut(x, turns, rotation=self._rotation, cutout=self._cutout)
            y = self._y[index].to(self.device)
            yield Batch(x=x.to(torch.float32).div_(255.0), y=y, index=index.to(self.device))

    def _images(self, positions: Tensor, index: Tensor) -> Tensor:
        if self._placed is None:
            return torch.from_numpy(np.array(self._bytes[index.numpy()]))
        return self._placed[positions.to(self.device)]


@final
class WorkerLoader:
    """Batches of images that worker processes decode, for datasets too large to keep decoded.

    The order is that of `DeviceLoader`. The random crop and flip of an image are a function of (seed, epoch,
    index of the image), whichever worker or process decodes it.

    Attributes:
        epoch: whose batches come next.
        start_batch: batches to skip once, in the next iteration.
    """

    def __init__(
        self,
        *,
        part: Part,
        indices: np.ndarray,
        batch_size: int,
        device: torch.device | str,
        shuffle: bool,
        drop_last: bool,
        augment: bool = False,
        flip: bool = False,
        rotation: float | None = None,
        cutout: int | None = None,
        workers: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Remember what to decode.

        Args:
            part: images that are decoded lazily.
            indices: which of them, int64; `Batch.index` holds these numbers.
            batch_size: images of one batch, all processes together.
            device: where the batches go.
            shuffle: a new order every epoch.
            drop_last: leave out the images that don't fill a batch.
            augment: decode with the part's own random crop; else with its central one.
            flip: mirror half of the images.
            rotation: turn each image by up to so many degrees, either way.
            cutout: set a square of so many pixels to zero in each image.
            workers: processes that decode; 0 decodes in this one.
            seed: of order and augmentation.
            rank: of this process.
            world_size: number of processes.

        Raises:
            InputError: no batch would be left, or the processes can't share the batches.
        """
        if isinstance(part.x, np.ndarray):
            raise InputError(
                "expected files that are decoded lazily, came an array; load it with DeviceLoader"
            )
        self.epoch = 0
        self.start_batch = 0
        self.device = torch.device(device)
        self._plan = Plan(len(indices), batch_size, shuffle, drop_last, seed, rank, world_size)
        self._indices = torch.from_numpy(np.asarray(indices, dtype=np.int64).copy())
        self._images, self._y = part.x, part.y
        self._augmented: dict[str, Any] = {
            "augment": augment,
            "flip": flip,
            "rotation": rotation,
            "cutout": cutout,
        }
        self._workers = workers

    def __len__(self) -> int:
        return len(self._plan)

    @property
    def sampler(self) -> "WorkerLoader":
        """This loader: Lightning calls `loader.sampler.set_epoch(epoch)`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        plan, epoch = self._plan, self.epoch
        start, self.start_batch = self.start_batch, 0
        batches = [self._indices[plan.share(each)].tolist() for _, each in plan.batches(epoch, start)]
        loader = DataLoader(
            Decoding(self._images, self._y, plan.seed, epoch, **self._augmented),
            batch_sampler=batches,
            num_workers=self._workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
            # Its own generator, or the loader would draw from the global random state.
            generator=torch.Generator().manual_seed(plan.seed),
        )
        for content in loader:
            if isinstance(content, str):
                raise InputError(content)
            x, y, index = (each.to(self.device, non_blocking=True) for each in content)
            yield Batch(x=x.to(torch.float32).div_(255.0), y=y, index=index)


Loader: TypeAlias = DeviceLoader | WorkerLoader
