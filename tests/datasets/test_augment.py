"""Rotation and cutout: against torchvision, against plain loops, and the same on any number of devices."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as oracle

from advarch.datasets.augment import Turns, cut_out, draw_turns, rotate, turn_and_cut
from advarch.datasets.images import Part
from advarch.datasets.lazy import LazyFolder
from advarch.datasets.loaders import DeviceLoader, WorkerLoader


def images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        1, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@pytest.mark.parametrize(("height", "width"), [(32, 32), (9, 14)])
def test_rotation_equals_torchvision_s(height: int, width: int) -> None:
    degrees = draw_turns(40, height, width, rotation=180, seed=0).degrees
    x = images(40, height, width)
    found = rotate(x, degrees)
    differing = 0
    for image, angle, mine in zip(x, degrees.tolist(), found, strict=True):
        expected = oracle.rotate(image[None], angle, InterpolationMode.NEAREST)[0]
        differing += int((mine != expected).any(0).sum())
    # It computes in single precision: a pixel whose source lies half way between two may round to the other one.
    assert differing <= 1e-4 * 40 * height * width


def test_quarter_turns_are_numpy_s() -> None:
    x = images(4, 7, 7)
    found = rotate(x, torch.tensor([0.0, 90.0, 180.0, -90.0]))
    for image, mine, quarters in zip(x, found, (0, 1, 2, 3), strict=True):
        assert np.array_equal(mine.numpy(), np.rot90(image.numpy(), quarters, (1, 2)))


@given(size=st.integers(1, 20), row=st.integers(0, 7), column=st.integers(0, 5))
def test_cutout_zeroes_the_part_of_a_square_that_lies_in_the_image(size: int, row: int, column: int) -> None:
    x = images(1, 8, 6)
    found = cut_out(x, torch.tensor([row]), torch.tensor([column]), size=size)[0]
    for i in range(8):
        for j in range(6):
            hit = 0 <= i - (row - size // 2) < size and 0 <= j - (column - size // 2) < size
            assert torch.equal(found[:, i, j], torch.zeros(3, dtype=torch.uint8) if hit else x[0, :, i, j])


def test_angles_and_centres_are_uniform_and_their_own() -> None:
    turns = draw_turns(24000, 4, 6, rotation=20, seed=1)
    counts = torch.bincount(turns.row * 6 + turns.column, minlength=24)
    assert len(counts) == 24 and (counts - 1000).abs().max() < 5 * (1000 * 23 / 24) ** 0.5
    assert turns.degrees.abs().max() <= 20
    # Standard deviations of mean and second moment of a uniform law on [-20, 20].
    assert abs(turns.degrees.mean()) < 5 * (400 / 3 / 24000) ** 0.5
    assert abs((turns.degrees**2).mean() - 400 / 3) < 5 * (20**4 * 4 / 45 / 24000) ** 0.5


def test_nothing_set_changes_nothing_and_rotation_comes_before_cutout() -> None:
    x = images(2, 8, 8)
    turns = Turns(torch.tensor([90.0, 90.0], dtype=torch.float64), torch.tensor([0, 7]), torch.tensor([0, 7]))
    assert torch.equal(turn_and_cut(x, turns, rotation=None, cutout=None), x)
    found = turn_and_cut(x, turns, rotation=90, cutout=2)
    expected = x.rot90(1, (2, 3))
    expected[0, :, :1, :1], expected[1, :, 6:, 6:] = 0, 0
    assert torch.equal(found, expected)


COUNT = 24
STORED = Part(x=images(COUNT, 8, 8, seed=3).numpy(), y=np.arange(COUNT, dtype=np.int64) % 4)


def loader(**changes) -> DeviceLoader:
    settings = {
        "part": STORED, "indices": np.arange(COUNT), "batch_size": 8, "device": "cpu", "shuffle": True, "drop_last": True,
        "crop_pad": 1, "flip": True, "rotation": 20.0, "cutout": 3, "seed": 5,
    }  # fmt: skip
    return DeviceLoader(**settings | changes)


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_the_batches_of_one(world_size: int) -> None:
    shares = [list(loader(rank=rank, world_size=world_size)) for rank in range(world_size)]
    for number, batch in enumerate(loader()):
        for rank in range(world_size):
            share = shares[rank][number]
            assert torch.equal(share.x, batch.x[rank::world_size])
            assert torch.equal(share.index, batch.index[rank::world_size])


def test_every_image_has_its_square_and_crops_stay_what_they_were() -> None:
    for batch, plain in zip(loader(rotation=None), loader(rotation=None, cutout=None), strict=True):
        zeroed = (batch.x == 0) & (plain.x != 0)
        assert torch.equal(batch.x, plain.x * ~zeroed)
        assert zeroed[:, 0].sum((1, 2)).max() <= 9 and zeroed.any(1).flatten(1).any(1).float().mean() > 0.5
    other = loader()
    other.set_epoch(1)
    assert not torch.equal(next(iter(other)).x, next(iter(loader())).x)


def test_pictures_decoded_by_workers_are_turned_and_cut_each_from_its_own_stream(tmp_path) -> None:
    for number, image in enumerate(images(4, 12, 12)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    part = Part(
        x=LazyFolder(tuple(str(tmp_path / f"{n}.png") for n in range(4)), 12), y=np.zeros(4, dtype=np.int64)
    )

    def decoded(batch_size: int, **options) -> dict[int, torch.Tensor]:
        made = WorkerLoader(
            part=part, indices=np.arange(4), batch_size=batch_size, device="cpu", shuffle=True, drop_last=True, seed=1, **options
        )  # fmt: skip
        return {int(i): x for batch in made for i, x in zip(batch.index, batch.x, strict=True)}

    plain, cut = decoded(4), decoded(4, cutout=4)
    for index, image in cut.items():
        zeroed = (image == 0).all(0)
        assert 4 <= zeroed.sum() <= 16 and torch.equal(image, plain[index] * ~zeroed)
    turned = decoded(4, rotation=20.0, cutout=4)
    assert all(torch.equal(turned[i], image) for i, image in decoded(1, rotation=20.0, cutout=4).items())
    assert not any(torch.equal(turned[i], cut[i]) for i in range(4))
