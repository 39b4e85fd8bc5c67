"""Batches on the device: every image once, the same batches for the same seed on any number of processes."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advarch.datasets.augment import Draws, crop_and_flip, draw
from advarch.datasets.images import Part
from advarch.datasets.lazy import LazyFolder
from advarch.datasets.loaders import DeviceLoader
from advarch.datasets.plan import Plan
from advarch.errors import InputError


def part_of(count: int, shape: tuple[int, int, int] = (3, 6, 5)) -> Part:
    x = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (count, *shape), dtype=np.uint8)
    return Part(x=x, y=np.arange(count, dtype=np.int64) % 3)


PART = part_of(50)


def loader(**changes):
    settings = {
        "part": PART,
        "indices": np.arange(3, 45),
        "batch_size": 8,
        "device": "cpu",
        "shuffle": True,
        "drop_last": True,
        "crop_pad": 2,
        "flip": True,
        "seed": 7,
    }
    return DeviceLoader(**settings | changes)


def same(one, two) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a, b)
        for left, right in zip(one, two, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def test_pixels_are_bytes_over_255_and_labels_follow_their_image():
    for batch in loader(crop_pad=0, flip=False):
        assert (batch.x.dtype, batch.y.dtype, batch.index.dtype) == (torch.float32, torch.int64, torch.int64)
        assert torch.equal(batch.x, torch.from_numpy(PART.x[batch.index.numpy()].astype(np.float32) / 255))
        assert torch.equal(batch.y, batch.index % 3)


def test_same_seed_same_batches():
    assert same(list(loader()), list(loader()))
    assert not same(list(loader()), list(loader(seed=8)))


def test_an_epoch_has_its_own_order_and_crops_and_can_be_repeated():
    one = loader()
    first = list(one)
    one.sampler.set_epoch(1)
    second = list(one)
    assert not torch.equal(first[0].index, second[0].index)
    one.set_epoch(0)
    assert same(list(one), first)


def test_each_epoch_shows_each_image_once():
    seen = torch.cat([batch.index for batch in loader(drop_last=False)])
    assert sorted(seen.tolist()) == list(range(3, 45))
    assert len(torch.cat([batch.index for batch in loader()])) == 40


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_processes_share_one_batch(world_size):
    whole = list(loader())
    shares = [list(loader(rank=rank, world_size=world_size)) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        for rank in range(world_size):
            for expected, found in zip(batch, shares[rank][number], strict=True):
                assert torch.equal(expected[rank::world_size], found)


@given(
    count=st.integers(1, 50),
    batch_size=st.integers(1, 60),
    world_size=st.integers(1, 5),
    drop_last=st.just(False),
)
def test_an_evaluation_sees_every_image_once_over_all_processes(count, batch_size, world_size, drop_last):
    if min(count, batch_size) < world_size:
        with pytest.raises(InputError, match="fewer devices"):
            Plan(count, batch_size, False, drop_last, 0, 0, world_size)
        return
    loaders = [
        loader(
            indices=np.arange(count),
            batch_size=batch_size,
            shuffle=False,
            drop_last=drop_last,
            crop_pad=0,
            flip=False,
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]
    batches = [list(each) for each in loaders]
    assert len({len(each) for each in batches}) == 1, "a process with fewer batches would be waited for"
    assert all(len(each) == len(batches[0]) for each in loaders)
    assert all(len(batch.x) for each in batches for batch in each)
    seen = [index for each in batches for batch in each for index in batch.index.tolist()]
    assert sorted(seen) == list(range(count))


def test_start_batch_skips_once():
    whole = list(loader())
    resumed = loader()
    resumed.start_batch = 3
    assert same(list(resumed), whole[3:])
    assert same(list(resumed), whole)
    assert len(resumed) == 5
    resumed.start_batch = 6
    with pytest.raises(InputError, match="0 to 5"):
        list(resumed)


def test_epoch_and_start_are_read_at_the_first_batch():
    """Lightning makes the iterator before it sets the epoch."""
    late = loader()
    batches = iter(late)
    late.set_epoch(4)
    late.start_batch = 2
    early = loader()
    early.set_epoch(4)
    assert same(list(batches), list(early)[2:])


def test_the_global_random_state_is_neither_read_nor_written():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = list(loader())
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(list(loader()), first)


@given(pad=st.integers(0, 4), mirrored=st.booleans(), seed=st.integers(0, 10000))
def test_crop_and_flip_equals_a_plain_loop(pad, mirrored, seed):
    x = torch.from_numpy(PART.x[:6])
    draws = draw(6, crop_pad=pad, flip=mirrored, seed=seed)
    found = crop_and_flip(x, draws, crop_pad=pad)
    for row, (top, left, flip) in enumerate(zip(*(each.tolist() for each in draws), strict=True)):
        image = np.pad(PART.x[row], ((0, 0), (pad, pad), (pad, pad)))[:, top : top + 6, left : left + 5]
        assert np.array_equal(found[row], image[:, :, ::-1] if flip else image)


def test_crops_are_uniform_and_half_of_the_images_are_mirrored():
    draws = draw(27000, crop_pad=1, flip=True, seed=0)
    counts = torch.bincount(draws.top * 3 + draws.left, minlength=9)
    # Expected 3000 each, standard deviation sqrt(27000 x 8/81) = 51.6; five of them.
    assert (counts - 3000).abs().max() < 258
    assert abs(int(draws.flip.sum()) - 13500) < 411
    assert not draw(100, crop_pad=1, flip=False, seed=0).flip.any()


def test_an_uncropped_unmirrored_image_is_left_as_it_is():
    x = torch.from_numpy(PART.x[:4])
    centre = torch.full((4,), 3)
    assert torch.equal(crop_and_flip(x, Draws(centre, centre, centre < 0), crop_pad=3), x)


def test_memory_mapped_images_load_like_others(tmp_path):
    np.save(tmp_path / "x.npy", PART.x)
    mapped = Part(x=np.load(tmp_path / "x.npy", mmap_mode="r"), y=PART.y)
    assert same(list(loader(part=mapped)), list(loader()))


def test_images_placed_on_a_device_give_the_same_batches():
    placed = loader()
    placed._placed = torch.from_numpy(PART.x[3:45])  # what an accelerator holds
    assert same(list(placed), list(loader()))


@pytest.mark.gpu
def test_an_accelerator_sees_the_same_batches():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    moved = [tuple(each.cpu() for each in batch) for batch in loader(device="cuda")]
    assert same(moved, list(loader()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 43}, r"dataset\.batch_size=43, came 42 images"),
        ({"batch_size": 8, "world_size": 3}, "set it to 6"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"rank": 2, "world_size": 2}, "rank=2"),
        ({"rank": -1}, "rank=-1"),
        ({"crop_pad": -1}, r"dataset\.crop_pad"),
        ({"indices": np.arange(0)}, "came none"),
        ({"part": Part(x=LazyFolder(("a.jpg",), 8), y=np.zeros(1, dtype=np.int64))}, "WorkerLoader"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(InputError, match=message):
        loader(**changes)


def test_sizes_join_a_last_batch_that_is_too_small_to_share():
    assert Plan(17, 8, False, False, 0, 0, 1).sizes() == [8, 8, 1]
    assert Plan(17, 8, False, False, 0, 0, 2).sizes() == [8, 9]
    assert Plan(18, 8, False, False, 0, 0, 2).sizes() == [8, 8, 2]
    for count, world_size in product(range(8, 40), (1, 2, 4, 8)):
        assert Plan(count, 8, True, True, 0, 0, world_size).sizes() == [8] * (count // 8)
