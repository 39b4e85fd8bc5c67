"""Phases of a training: which images, of which size, in which batches, against loaders of each phase alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from advarch.datasets.experiment_data import ExperimentData
from advarch.datasets.images import Part
from advarch.datasets.lazy import LazyFolder, random_box
from advarch.datasets.phases import Phase, PhasedLoader
from advarch.datasets.splits import Splits
from advarch.errors import InputError

PHASES = (Phase(2, 8, 4), Phase(1, 5, 6), Phase(2, 4, 8))


def data(part: Part, phases: tuple[Phase, ...] = PHASES) -> ExperimentData:
    count = len(part)
    return ExperimentData(
        name="made up",
        classes=("a", "b", "c"),
        image_shape=part.image_shape,
        train_part=part,
        test_part=part,
        splits=Splits(train=np.arange(count), val=np.arange(0), digest="none"),
        test_indices=np.arange(count),
        batch_size=7,
        seed=3,
        crop_pad=1 if isinstance(part.x, np.ndarray) else 0,
        flip=True,
        workers=0,
        mean=None,
        std=None,
        eps=0.1,
        phases=phases,
    )


def decoded(count: int = 21) -> Part:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (count, 3, 8, 8)).astype(np.uint8)
    return Part(x=x, y=(np.arange(count) % 3).astype(np.int64))


def pictures(folder: Path, count: int = 9) -> Part:
    generator = np.random.default_rng(0)
    paths = []
    for number in range(count):
        pixels = generator.integers(0, 256, (20, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        paths.append(str(folder / f"{number}.png"))
    return Part(x=LazyFolder(tuple(paths), 8), y=(np.arange(count) % 3).astype(np.int64))


def test_every_epoch_has_the_batches_and_sizes_of_its_phase() -> None:
    loader = data(decoded()).train_loader("cpu")
    assert isinstance(loader, PhasedLoader) and loader.steps == (2, 2, 4, 5, 5)
    for epoch, (batches, size, side) in enumerate([(2, 8, 4), (2, 8, 4), (4, 5, 6), (5, 4, 8), (5, 4, 8)]):
        loader.set_epoch(epoch)
        assert len(loader) == batches
        found = list(loader)
        assert [tuple(batch.x.shape) for batch in found] == [(size, 3, side, side)] * batches
        assert all(0 <= batch.x.min() and batch.x.max() <= 1 for batch in found)


@pytest.mark.parametrize("epoch", range(5))
def test_a_phase_s_batches_are_those_of_a_loader_of_that_phase_resized(epoch: int) -> None:
    whole = data(decoded())
    loader = whole.train_loader("cpu")
    loader.set_epoch(epoch)
    phase = [phase for phase in PHASES for _ in range(phase.epochs)][epoch]
    alone = replace(whole, phases=(), batch_size=phase.batch_size).train_loader("cpu")
    alone.set_epoch(epoch)
    for mine, theirs in zip(loader, alone, strict=True):
        size = [phase.image_size] * 2
        expected = F.interpolate(theirs.x, size=size, mode="bilinear", antialias=True)
        torch.testing.assert_close(mine.x, expected, rtol=0, atol=1e-6)
        assert torch.equal(mine.index, theirs.index) and torch.equal(mine.y, theirs.y)


def test_of_the_dataset_s_own_size_the_images_are_untouched() -> None:
    whole = data(decoded(), (Phase(1, 7, 8),))
    for mine, theirs in zip(
        whole.train_loader("cpu"), replace(whole, phases=()).train_loader("cpu"), strict=True
    ):
        assert torch.equal(mine.x, theirs.x)


@pytest.mark.parametrize("start", [0, 1, 3])
def test_batches_can_be_skipped_once(start: int) -> None:
    loader = data(decoded()).train_loader("cpu")
    loader.set_epoch(2)
    whole = list(loader)
    loader.start_batch = start
    assert [batch.index.tolist() for batch in loader] == [batch.index.tolist() for batch in whole[start:]]
    assert len(list(loader)) == len(whole)


def test_processes_share_each_phase_s_batches() -> None:
    phases = (Phase(1, 8, 4), Phase(1, 4, 8))
    shares = [data(decoded(), phases).train_loader("cpu", rank=rank, world_size=2) for rank in range(2)]
    alone = data(decoded(), phases).train_loader("cpu")
    for epoch in range(2):
        for loader in (*shares, alone):
            loader.set_epoch(epoch)
        for left, right, whole in zip(*shares, alone, strict=True):
            assert torch.equal(left.x, whole.x[::2]) and torch.equal(right.x, whole.x[1::2])


def test_pictures_are_decoded_at_the_phase_s_size_after_their_shorter_side_was_resized(
    tmp_path: Path,
) -> None:
    part = pictures(tmp_path)
    loader = data(part, (Phase(1, 3, 6, resize=10), Phase(1, 2, 12))).train_loader("cpu")
    for epoch, shape in ((0, (3, 3, 6, 6)), (1, (2, 3, 12, 12))):
        loader.set_epoch(epoch)
        assert {tuple(batch.x.shape) for batch in loader} == {shape}
    lazy = LazyFolder(part.x.paths, 6, 10)
    found = lazy.decode(4, torch.Generator().manual_seed(1), train=True)
    with Image.open(part.x.paths[4]) as picture:
        small = picture.convert("RGB").resize((12, 10), Image.Resampling.BILINEAR)
    box = random_box(12, 10, torch.Generator().manual_seed(1))
    small.save(tmp_path / "small.png")
    again = LazyFolder((str(tmp_path / "small.png"),), 6).decode(
        0, torch.Generator().manual_seed(1), train=True
    )
    assert torch.equal(found, again) and box[2] <= 12 and box[3] <= 10
    # Testing is as ever.
    assert torch.equal(
        lazy.decode(4, None, train=False), LazyFolder(part.x.paths, 6).decode(4, None, train=False)
    )


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((Phase(1, 8, 4), Phase(1, 22, 8)), "full batch of dataset.batch_size=22"),
        ((Phase(1, 8, 4), Phase(1, 5, 8)), r"multiple of the 2 processes"),
        ((Phase(1, 8, 4), Phase(1, 8, 8, resize=9)), "without resize for images that are decoded already"),
    ],
)
def test_a_later_phase_that_can_t_be_had_is_refused_before_the_first(phases: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        data(decoded(), phases).train_loader("cpu", rank=0, world_size=2)
