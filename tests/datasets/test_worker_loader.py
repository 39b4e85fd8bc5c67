"""Batches that workers decode: the same protocol, each image's crop a function of (seed, epoch, index)."""

import numpy as np
import pytest
import torch
from PIL import Image

from advarch.datasets.images import Part
from advarch.datasets.lazy import LazyFolder
from advarch.datasets.loaders import DeviceLoader, WorkerLoader
from advarch.errors import InputError
from advarch.noise import derive_seed


@pytest.fixture(scope="module")
def part(tmp_path_factory) -> Part:
    folder = tmp_path_factory.mktemp("pictures")
    source = np.random.Generator(np.random.PCG64(0))
    for number in range(11):
        Image.fromarray(source.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    paths = tuple(str(folder / f"{number}.png") for number in range(11))
    return Part(x=LazyFolder(paths, 8), y=np.arange(11, dtype=np.int64) % 4)


def loader(part, **changes):
    settings = {
        "part": part,
        "indices": np.arange(1, 11),
        "batch_size": 4,
        "device": "cpu",
        "shuffle": True,
        "drop_last": True,
        "augment": True,
        "flip": True,
        "seed": 3,
    }
    return WorkerLoader(**settings | changes)


def by_index(batches) -> dict[int, torch.Tensor]:
    return {int(index): image for batch in batches for index, image in zip(batch.index, batch.x, strict=True)}


def same(one, two) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a, b)
        for left, right in zip(one, two, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def test_each_image_is_decoded_from_its_own_generator(part):
    for batch in loader(part):
        assert (batch.x.dtype, batch.x.shape) == (torch.float32, (4, 3, 8, 8))
        assert torch.equal(batch.y, batch.index % 4)
        for index, image in zip(batch.index.tolist(), batch.x, strict=True):
            generator = torch.Generator().manual_seed(derive_seed("decode", 3, 0, index))
            expected = part.x.decode(index, generator, train=True)
            mirrored = bool(torch.randint(0, 2, (), generator=generator))
            assert torch.equal(image, (expected.flip(-1) if mirrored else expected) / 255.0)


def test_the_order_is_that_of_the_device_loader(part):
    array = Part(x=np.zeros((11, 1, 2, 2), dtype=np.uint8), y=part.y)
    settings = {"batch_size": 4, "device": "cpu", "shuffle": True, "drop_last": True, "seed": 3}
    other = DeviceLoader(part=array, indices=np.arange(1, 11), **settings)
    one = loader(part)
    for epoch in (0, 5):
        one.sampler.set_epoch(epoch)
        other.sampler.set_epoch(epoch)
        assert [each.index.tolist() for each in one] == [each.index.tolist() for each in other]
    assert len(one) == len(other) == 2


def test_same_batches_in_this_process_and_in_workers(part):
    assert same(list(loader(part)), list(loader(part, workers=2)))


def test_processes_share_one_batch(part):
    whole = list(loader(part))
    shares = [list(loader(part, rank=rank, world_size=2)) for rank in range(2)]
    for number, batch in enumerate(whole):
        for rank in range(2):
            assert all(torch.equal(a[rank::2], b) for a, b in zip(batch, shares[rank][number], strict=True))


def test_another_epoch_crops_otherwise(part):
    one = loader(part, drop_last=False)
    first = by_index(one)
    one.set_epoch(1)
    second = by_index(one)
    assert first.keys() == second.keys() == set(range(1, 11))
    assert not any(torch.equal(first[index], second[index]) for index in first)


def test_an_evaluation_decodes_every_image_once_and_in_order(part):
    settings = {"shuffle": False, "drop_last": False, "augment": False, "flip": False}
    shares = [list(loader(part, rank=rank, world_size=3, **settings)) for rank in range(3)]
    assert {len(share) for share in shares} == {2}
    seen = [index for share in shares for batch in share for index in batch.index.tolist()]
    assert sorted(seen) == list(range(1, 11))
    for index, image in by_index(shares[0]).items():
        assert torch.equal(image, part.x.decode(index, None, train=False) / 255.0)


def test_start_batch_skips_once_and_the_global_random_state_stays(part):
    state = torch.get_rng_state()
    whole = list(loader(part))
    resumed = loader(part, workers=1)
    resumed.start_batch = 1
    assert same(list(resumed), whole[1:])
    assert same(list(resumed), whole)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_one_line(tmp_path, workers):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    broken = Part(x=LazyFolder((str(tmp_path / "bad.png"),) * 4, 8), y=np.zeros(4, dtype=np.int64))
    with pytest.raises(InputError, match=r"^expected a readable picture .*bad\.png") as caught:
        list(loader(broken, indices=np.arange(4), workers=workers))
    assert "\n" not in str(caught.value)


def test_refusals(part):
    array = Part(x=np.zeros((1, 1, 2, 2), dtype=np.uint8), y=np.zeros(1, dtype=np.int64))
    with pytest.raises(InputError, match="DeviceLoader"):
        loader(array)
    with pytest.raises(InputError, match=r"dataset\.batch_size=11"):
        loader(part, batch_size=11)
