"""load: which setting reaches which reader, and the loaders of an experiment."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advarch.datasets import embedded, folders, local
from advarch.datasets.experiment_data import ExperimentData
from advarch.datasets.images import ImageData, Part
from advarch.datasets.load import load
from advarch.datasets.loaders import WorkerLoader
from advarch.datasets.splits import halves
from advarch.errors import InputError

SETTINGS = {"val_fraction": 0.1, "seed": 0, "crop_pad": 0, "flip": False, "batch_size": 64, "eps": 0.2}


@pytest.fixture(scope="module")
def digits() -> ExperimentData:
    return load(source=embedded.digits, **SETTINGS)


def indices(loader) -> list[int]:
    return [index for batch in loader for index in batch.index.tolist()]


def test_digits(digits):
    assert (digits.name, digits.image_shape, len(digits.classes)) == ("digits", (1, 8, 8), 10)
    assert (digits.mean, digits.std, digits.eps) == (None, None, 0.2)
    assert (len(digits.splits.train), len(digits.splits.val), len(digits.test_indices)) == (1294, 144, 359)


def test_loaders_see_the_images_of_their_part(digits):
    train = indices(digits.train_loader("cpu"))
    assert len(train) == len(set(train)) == 1294 // 64 * 64
    assert set(train) <= set(digits.splits.train.tolist())
    assert indices(digits.val_loader("cpu")) == digits.splits.val.tolist()
    batches = list(digits.test_loader("cpu"))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(359))
    assert np.array_equal((torch.cat([batch.x for batch in batches]) * 255).round(), digits.test_part.x)


def test_a_sample_of_the_test_images_is_drawn_with_the_seed_each_class_in_its_share(digits):
    sample = digits.test_sample("cpu", limit=100)
    drawn = sample.index.tolist()
    assert len(set(drawn)) == 100 and set(drawn) <= set(range(359))
    assert sample.y.tolist() == digits.test_part.y[drawn].tolist()
    shares = 100 * np.bincount(digits.test_part.y) / 359
    assert (abs(np.bincount(sample.y) - shares) < 1).all()
    assert digits.test_sample("cpu", limit=100).index.tolist() == drawn
    assert replace(digits, seed=1).test_sample("cpu", limit=100).index.tolist() != drawn
    assert digits.test_sample("cpu", limit=None).index.tolist() == list(range(359))


def test_processes_share_the_batches(digits):
    shares = [list(digits.train_loader("cpu", rank=rank, world_size=2)) for rank in range(2)]
    for number, batch in enumerate(digits.train_loader("cpu")):
        for rank in range(2):
            assert torch.equal(batch.index[rank::2], shares[rank][number].index)
    seen = [
        index for rank in range(2) for index in indices(digits.test_loader("cpu", rank=rank, world_size=2))
    ]
    assert sorted(seen) == list(range(359))


@pytest.mark.parametrize("world_size", [1, 2, 5, 9])
def test_an_evaluation_is_shared_by_whole_batches(digits, world_size):
    whole = list(digits.test_loader("cpu", limit=300))
    for rank in range(world_size):
        batches, index = digits.test_share("cpu", limit=300, rank=rank, world_size=world_size)
        mine = whole[rank::world_size]
        for batch, expected in zip(batches, mine, strict=True):
            assert torch.equal(batch.index, expected.index) and torch.equal(batch.x, expected.x)
        assert index.tolist() == [i for batch in mine for i in batch.index.tolist()]


def test_training_images_are_cropped_and_flipped_and_others_are_not():
    source = lambda: ImageData(  # noqa: E731
        name="ramps",
        train=Part(x=np.tile(np.arange(1, 9, dtype=np.uint8), (40, 1, 8, 1)), y=np.arange(40) % 2),
        test=Part(x=np.tile(np.arange(1, 9, dtype=np.uint8), (4, 1, 8, 1)), y=np.arange(4) % 2),
        classes=("a", "b"),
    )
    data = load(source=source, **SETTINGS | {"crop_pad": 2, "flip": True, "batch_size": 4})
    kinds = {
        tuple((image[0, 3] * 255).round().int().tolist())
        for batch in data.train_loader("cpu")
        for image in batch.x
    }
    ramp = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]
    windows = {tuple(ramp[left : left + 8]) for left in range(5)}
    assert kinds <= windows | {window[::-1] for window in windows}
    assert len(kinds) > 5
    for batch in (*data.val_loader("cpu"), *data.test_loader("cpu")):
        assert ((batch.x * 255).round() == torch.arange(1, 9)).all()


def test_search_loaders_share_the_training_images_in_halves(digits):
    weights, arch = digits.search_loaders("cpu")
    parts = halves(digits.splits.train, digits.train_part.y, seed=0)
    assert set(indices(weights)) <= set(parts.weights.tolist())
    assert set(indices(arch)) <= set(parts.arch.tolist())
    assert len(weights) == len(arch) == 647 // 64
    assert not set(indices(weights)) & set(indices(arch))
    alone, none = digits.search_loaders("cpu", arch=False)
    assert none is None and len(alone) == 1294 // 64
    assert set(indices(alone)) <= set(digits.splits.train.tolist())


def test_a_limit_takes_the_same_stratified_images_whatever_the_seed():
    one, two = (load(source=embedded.digits, limit=100, **SETTINGS | {"seed": seed}) for seed in (0, 1))
    assert len(one.test_indices) == len(one.splits.train) + len(one.splits.val) == 100
    assert np.array_equal(one.test_indices, two.test_indices)
    assert set(one.splits.train) | set(one.splits.val) == set(two.splits.train) | set(two.splits.val)
    assert np.abs(np.bincount(one.test_part.y[one.test_indices]) - 10).max() <= 1
    few = indices(one.test_loader("cpu", limit=20))
    assert len(few) == 20
    assert set(few) <= set(one.test_indices.tolist())
    assert np.bincount(one.test_part.y[few], minlength=10).min() >= 1


def paint(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 12), (5, 6, 7)).save(path)


def test_settings_reach_a_reader_that_takes_them(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            for number in range(5):
                paint(tmp_path / part / name / f"{number}.png")
    (tmp_path / "train" / "a" / "bad.png").write_text("no picture")
    source = partial(folders.image_folder, test_fraction=0.3)
    settings = SETTINGS | {"root": str(tmp_path), "image_size": 5}
    with pytest.raises(InputError, match=r"dataset\.skip_damaged=true"):
        load(source=source, **settings)
    with pytest.warns(UserWarning, match="left out"):
        data = load(source=source, skip_damaged=True, **settings)
    assert (data.image_shape, len(data.train_part)) == ((3, 5, 5), 10)


def test_a_lazily_decoded_dataset_gets_worker_loaders(tmp_path):
    for part in ("train", "val"):
        for name in ("a", "b"):
            for number in range(5):
                paint(tmp_path / part / name / f"{number}.png")
    settings = SETTINGS | {"root": str(tmp_path), "image_size": 8, "batch_size": 2, "val_fraction": 0.2}
    data = load(source=local.imagenet, **settings)
    for loader in (data.train_loader("cpu"), data.val_loader("cpu"), data.test_loader("cpu")):
        assert isinstance(loader, WorkerLoader)
    assert next(iter(data.train_loader("cpu"))).x.shape == (2, 3, 8, 8)
    assert indices(data.test_loader("cpu")) == list(range(10))
    with pytest.raises(InputError, match=r"dataset\.crop_pad=0 with imagenet"):
        load(source=local.imagenet, **settings | {"crop_pad": 4})


def test_normalisation_is_kept_for_the_model():
    data = load(source=embedded.digits, mean=[0.3], std=[0.4], **SETTINGS)
    assert (data.mean, data.std) == ((0.3,), (0.4,))


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        (embedded.digits, {"root": "data"}, r"no dataset\.root with digits, came data"),
        (partial(embedded.mnist_m, seed=1), {"download": True}, r"no dataset\.download with mnist_m"),
        (embedded.digits, {"image_size": 16}, r"no dataset\.image_size with digits, came 16"),
        (local.cifar10, {"root": "x", "skip_damaged": True}, r"no dataset\.skip_damaged with cifar10"),
        (local.tiny_imagenet, {"root": "x", "download": True}, r"no dataset\.download with tiny_imagenet"),
        (local.cifar10, {}, r"expected dataset\.root with cifar10, came none"),
        (folders.image_folder, {"root": "x"}, r"expected dataset\.image_size with image_folder, came none"),
        (embedded.digits, {"mean": [0.5]}, "together"),
        (embedded.digits, {"std": [0.5]}, "together"),
        (embedded.digits, {"mean": [0.5] * 3, "std": [0.5] * 3}, r"dataset\.mean with 1 values"),
        (embedded.digits, {"mean": [0.5], "std": [0.5] * 3}, r"dataset\.std with 1 values"),
        (embedded.digits, {"mean": [0.5], "std": [0.0]}, r"dataset\.std above 0"),
        (embedded.digits, {"val_fraction": 1.0}, r"dataset\.val_fraction"),
        (embedded.digits, {"limit": 0}, "at least 1 image"),
    ],
)
def test_what_a_dataset_cannot_honour_is_refused(source, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        load(source=source, **SETTINGS | changes)
    assert "\n" not in str(caught.value)


def test_too_few_images_for_a_batch_and_no_validation_part_are_said_when_asked_for():
    data = load(source=embedded.digits, limit=50, **SETTINGS | {"val_fraction": 0.0})
    with pytest.raises(InputError, match=r"dataset\.batch_size=64, came 50 images"):
        data.train_loader("cpu")
    with pytest.raises(InputError, match=r"dataset\.val_fraction=0"):
        data.val_loader("cpu")


def byte_images(count: int, size: int = 4) -> np.ndarray:
    return np.zeros((count, 1, size, size), dtype=np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": byte_images(2).astype(np.float32)}, "uint8"),
        ({"x": byte_images(2)[0]}, "uint8"),
        ({"y": np.zeros(3, dtype=np.int64)}, r"int64 \(2,\)"),
        ({"y": np.zeros(2, dtype=np.int32)}, "int64"),
        ({"x": byte_images(0), "y": np.zeros(0, dtype=np.int64)}, "at least one image"),
        ({"pseudo": np.zeros(2)}, "`pseudo` as bool"),
    ],
)
def test_a_part_is_checked(changes, message):
    with pytest.raises(InputError, match=message):
        Part(**{"x": byte_images(2), "y": np.zeros(2, dtype=np.int64)} | changes)


@pytest.mark.parametrize(
    ("size", "labels", "classes", "message"),
    [
        (5, [0, 1], "ab", "one shape"),
        (4, [0, 2], "ab", "labels from 0 to 1 in the test part"),
        (4, [-1, 1], "ab", "labels from 0 to 1 in the test part"),
        (4, [0, 0], "a", "at least 2 classes"),
    ],
)
def test_a_dataset_is_checked(size, labels, classes, message):
    train = Part(x=byte_images(2), y=np.zeros(2, dtype=np.int64))
    test = Part(x=byte_images(2, size), y=np.array(labels, dtype=np.int64))
    with pytest.raises(InputError, match=message):
        ImageData(name="made", train=train, test=test, classes=tuple(classes))
