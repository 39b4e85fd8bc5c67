"""A dataset ready for an experiment: who sees which image, and how batches are made."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from advarch.datasets.images import Part
from advarch.datasets.loaders import DeviceLoader, Loader, WorkerLoader
from advarch.datasets.phases import Phase, PhasedLoader, part_in
from advarch.datasets.plan import Plan
from advarch.datasets.splits import Splits, halves, stratified, subset
from advarch.errors import InputError
from advarch.noise import derive_seed
from advarch.types import Batch


@dataclass(frozen=True, eq=False)
class ExperimentData:
    """A dataset ready for an experiment: its parts, who sees which image, and how batches are made.

    Attributes:
        name: of the dataset.
        classes: names of the classes.
        image_shape: (channel, height, width).
        train_part: the official training set.
        test_part: the official test set.
        splits: indices into `train_part` that train and that validate.
        test_indices: indices into `test_part` that are evaluated: all, or `limit` of them.
        batch_size: images of one batch, all devices together.
        seed: of splits, order and augmentation.
        crop_pad: zero padding of random training crops, pixels.
        flip: whether half of the training images are mirrored.
        workers: processes that decode, for lazily decoded datasets.
        mean: per channel, for the normalisation layer of the model; None normalises nothing.
        std: the same.
        eps: the customary l_inf budget of the dataset, in [0, 1] pixels; information, no setting.
        phases: sizes of training images and batches that change along the training; none leaves both as they are.
        pseudo_share: share of each training batch whose labels were guessed; None takes all images alike.
        rotation: of training images, by up to so many degrees.
        cutout: side of the square set to zero in training images, pixels.
    """

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train_part: Part
    test_part: Part
    splits: Splits
    test_indices: np.ndarray
    batch_size: int
    seed: int
    crop_pad: int
    flip: bool
    workers: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    eps: float
    phases: tuple[Phase, ...] = ()
    pseudo_share: float | None = None
    rotation: float | None = None
    cutout: int | None = None

    def train_loader(
        self, device: torch.device | str, *, rank: int = 0, world_size: int = 1
    ) -> Loader | PhasedLoader:
        """Shuffled, augmented batches of the training images, by phase; the last, incomplete one is left out."""
        if self.phases:
            return PhasedLoader(
                self.phases,
                partial(self._in_phase, device=device, rank=rank, world_size=world_size),
                partial(self._batches_in, rank=rank, world_size=world_size),
            )
        return self._training(self.splits.train, self.seed, device, rank, world_size)

    def plain_loader(self, device: torch.device | str, *, rank: int = 0, world_size: int = 1) -> Loader:
        """Every training image once, over all processes, in order and as it is."""
        return self._evaluating(self.train_part, self.splits.train, device, rank, world_size)

    def val_loader(self, device: torch.device | str, *, rank: int = 0, world_size: int = 1) -> Loader:
        """Every validation image once, over all processes, in order and as it is."""
        if not len(self.splits.val):
            raise InputError(
                "expected a validation part, came dataset.val_fraction=0; set it above 0, 0.1 is a tenth"
            )
        return self._evaluating(self.train_part, self.splits.val, device, rank, world_size)

    def test_loader(
        self, device: torch.device | str, *, rank: int = 0, world_size: int = 1, limit: int | None = None
    ) -> Loader:
        """Every test image once, over all processes, in order and as it is.

        Args:
            device: where the batches are made.
            rank: of this process.
            world_size: number of processes.
            limit: take only this many, every class in its share, always the same ones.
        """
        indices = self.test_indices[subset(self.test_part.y[self.test_indices], limit=limit)]
        return self._evaluating(self.test_part, indices, device, rank, world_size)

    def test_share(
        self, device: torch.device | str, *, rank: int, world_size: int, limit: int | None = None
    ) -> tuple[Iterable[Batch], np.ndarray]:
        """One process's part of the test images, and their indices: batches rank, rank + world_size, ... of `test_loader`.

        Whole batches, so that whatever is done with a batch comes out as it does in one process.
        """
        indices = self.test_indices[subset(self.test_part.y[self.test_indices], limit=limit)]
        own = indices[np.arange(len(indices)) // self.batch_size % world_size == rank]
        if not len(own):
            return (), own
        return self._evaluating(self.test_part, own, device, 0, 1), own

    def test_sample(self, device: torch.device | str, *, limit: int | None) -> Batch:
        """`limit` test images drawn with the experiment's seed, each class in its share, in one batch; without a limit all."""
        y = self.test_part.y[self.test_indices]
        count = len(y) if limit is None else min(limit, len(y))
        chosen = self.test_indices[stratified(y, count=count, seed=derive_seed("sample", self.seed))]
        batches = self._evaluating(self.test_part, chosen, device, 0, 1)
        return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))

    def search_loaders(
        self, device: torch.device | str, *, arch: bool = True, rank: int = 0, world_size: int = 1
    ) -> tuple[Loader, Loader | None]:
        """(weights, architecture): batches of two disjoint halves of the training images (RACL, NADAR).

        Where there is no architecture to train, all of them train weights (RobNet).
        """
        if not arch:
            seed = derive_seed("weights", self.seed)
            return self._training(self.splits.train, seed, device, rank, world_size), None
        parts = halves(self.splits.train, self.train_part.y, seed=self.seed)
        weights = self._training(parts.weights, derive_seed("weights", self.seed), device, rank, world_size)
        other = self._training(parts.arch, derive_seed("arch", self.seed), device, rank, world_size)
        return weights, other

    def _in_phase(self, phase: Phase, *, device: torch.device | str, rank: int, world_size: int) -> Loader:
        data = replace(self, train_part=part_in(self.train_part, phase), batch_size=phase.batch_size)
        return data._training(self.splits.train, self.seed, device, rank, world_size)

    def _batches_in(self, phase: Phase, *, rank: int, world_size: int) -> int:
        part_in(self.train_part, phase)
        return len(Plan(len(self.splits.train), phase.batch_size, True, True, self.seed, rank, world_size))

    def _training(
        self, indices: np.ndarray, seed: int, device: torch.device | str, rank: int, world_size: int
    ) -> Loader:
        shared: dict[str, Any] = {
            "part": self.train_part,
            "indices": indices,
            "batch_size": self.batch_size,
            "device": device,
            "shuffle": True,
            "drop_last": True,
            "flip": self.flip,
            "rotation": self.rotation,
            "cutout": self.cutout,
            "seed": seed,
            "rank": rank,
            "world_size": world_size,
        }
        if isinstance(self.train_part.x, np.ndarray):
            return DeviceLoader(crop_pad=self.crop_pad, pseudo_share=self.pseudo_share, **shared)
        return WorkerLoader(augment=True, workers=self.workers, **shared)

    def _evaluating(
        self, part: Part, indices: np.ndarray, device: torch.device | str, rank: int, world_size: int
    ) -> Loader:
        shared: dict[str, Any] = {
            "part": part,
            "indices": indices,
            "batch_size": self.batch_size,
            "device": device,
            "shuffle": False,
            "drop_last": False,
            "rank": rank,
            "world_size": world_size,
        }
        if isinstance(part.x, np.ndarray):
            return DeviceLoader(**shared)
        return WorkerLoader(workers=self.workers, **shared)
