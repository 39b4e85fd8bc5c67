"""Public datasets: small files of the same format, written here, and what is said when they are missing."""

import pickle
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from advarch.datasets import local
from advarch.datasets.lazy import LazyFolder, random_box
from advarch.errors import InputError

NOT_OFFICIAL = pytest.mark.filterwarnings("ignore:.*is not the official one")


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_cifar10(root) -> np.ndarray:
    folder, x = root / "cifar-10-batches-py", pixels(24)
    files = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for number, file in enumerate(files):
        write(
            folder / file,
            {"data": x[4 * number : 4 * number + 4].reshape(4, 3072), "labels": [number, 9, 0, 1]},
        )
    write(folder / "batches.meta", {"label_names": list("abcdefghij")})
    return x


@NOT_OFFICIAL
def test_cifar10(tmp_path):
    x = write_cifar10(tmp_path)
    data = local.cifar10(root=str(tmp_path))
    assert np.array_equal(data.train.x, x[:20])
    assert np.array_equal(data.test.x, x[20:])
    assert data.train.y.tolist() == [label for number in range(5) for label in (number, 9, 0, 1)]
    assert data.test.y.tolist() == [5, 9, 0, 1]
    assert data.classes == tuple("abcdefghij")
    assert data.train.pseudo is None


@NOT_OFFICIAL
def test_cifar100_has_the_fine_labels(tmp_path):
    folder, x = tmp_path / "cifar-100-python", pixels(5)
    write(
        folder / "train",
        {"data": x[:3].reshape(3, -1), "fine_labels": [99, 0, 50], "coarse_labels": [1, 2, 3]},
    )
    write(folder / "test", {"data": x[3:].reshape(2, -1), "fine_labels": [7, 8], "coarse_labels": [1, 2]})
    write(folder / "meta", {"fine_label_names": [f"c{number}" for number in range(100)]})
    data = local.cifar100(root=str(tmp_path))
    assert np.array_equal(data.train.x, x[:3])
    assert (data.train.y.tolist(), data.test.y.tolist()) == ([99, 0, 50], [7, 8])
    assert (len(data.classes), data.classes[42]) == (100, "c42")


@NOT_OFFICIAL
def test_svhn_calls_the_digit_0_class_0(tmp_path):
    x = pixels(5)
    for name, rows, y in (("train", x[:3], [10, 1, 9]), ("test", x[3:], [2, 10])):
        savemat(tmp_path / f"{name}_32x32.mat", {"X": rows.transpose(2, 3, 1, 0), "y": np.array(y)[:, None]})
    data = local.svhn(root=str(tmp_path))
    assert np.array_equal(data.train.x, x[:3])
    assert np.array_equal(data.test.x, x[3:])
    assert (data.train.y.tolist(), data.test.y.tolist()) == ([0, 1, 9], [2, 0])
    (tmp_path / "test_32x32.mat").write_bytes(b"no matrix")
    with pytest.raises(InputError, match=r"images X and labels y in .*test_32x32\.mat"):
        local.svhn(root=str(tmp_path))


@NOT_OFFICIAL
def test_the_500k_come_after_cifar10_and_are_marked(tmp_path):
    x, extra = write_cifar10(tmp_path), pixels(7, seed=1)
    write(
        tmp_path / local.PSEUDO_LABELED,
        {"data": extra.transpose(0, 2, 3, 1), "extrapolated_targets": np.arange(7)},
    )
    data = local.cifar10_500k(root=str(tmp_path))
    assert np.array_equal(data.train.x, np.concatenate([x[:20], extra]))
    assert data.train.y[20:].tolist() == list(range(7))
    assert data.train.pseudo.tolist() == [False] * 20 + [True] * 7
    assert np.array_equal(data.test.x, x[20:])
    assert data.test.pseudo is None
    write(tmp_path / local.PSEUDO_LABELED, {"data": extra, "extrapolated_targets": np.arange(7)})
    with pytest.raises(InputError, match=r"expected `data` as uint8 \(7, 32, 32, 3\)"):
        local.cifar10_500k(root=str(tmp_path))


def test_other_files_than_the_official_ones_are_a_warning(tmp_path):
    write_cifar10(tmp_path)
    with pytest.warns(
        UserWarning, match="cifar10 in .* is not the official one: data_batch_1, .* another md5"
    ):
        local.cifar10(root=str(tmp_path))


@NOT_OFFICIAL
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [1]}, "expected data and labels in .*data_batch_2, came labels"),
        ({"data": np.zeros((1, 12), np.uint8), "labels": [1]}, r"uint8 \(1, 3072\)"),
        ({"data": np.zeros((1, 3072), np.float32), "labels": [1]}, "came float32"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, "labels from 0 to 9"),
    ],
)
def test_a_cifar_file_with_other_content_is_refused(tmp_path, content, message):
    write_cifar10(tmp_path)
    write(tmp_path / "cifar-10-batches-py" / "data_batch_2", content)
    with pytest.raises(InputError, match=message):
        local.cifar10(root=str(tmp_path))


@NOT_OFFICIAL
def test_a_cifar_without_class_names_is_refused(tmp_path):
    write_cifar10(tmp_path)
    write(tmp_path / "cifar-10-batches-py" / "batches.meta", {"names": []})
    with pytest.raises(InputError, match="a list label_names"):
        local.cifar10(root=str(tmp_path))


def paint(path, value: int, size=(64, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path, quality=100)


def write_tiny_imagenet(root) -> None:
    for number, wnid in enumerate(("n02", "n01")):
        for picture in range(2):
            paint(root / "train" / wnid / "images" / f"{wnid}_{picture}.JPEG", 10 * number + picture)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("0 0 1 1")
        paint(root / "val" / "images" / f"val_{number}.JPEG", 100 + number)
    lines = ["val_1.JPEG\tn02\t0\t0\t62\t62", "val_0.JPEG\tn01\t0\t0\t62\t62"]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")


def test_tiny_imagenet_tests_on_its_validation_images(tmp_path):
    write_tiny_imagenet(tmp_path)
    data = local.tiny_imagenet(root=str(tmp_path))
    assert data.classes == ("n01", "n02")
    assert data.train.image_shape == (3, 64, 64)
    assert (data.train.x[:, 0, 0, 0].tolist(), data.train.y.tolist()) == ([10, 11, 0, 1], [0, 0, 1, 1])
    assert (data.test.x[:, 0, 0, 0].tolist(), data.test.y.tolist()) == ([100, 101], [0, 1])
    assert local.tiny_imagenet(root=str(tmp_path), image_size=32).train.image_shape == (3, 32, 32)
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG n01\n")
    with pytest.raises(InputError, match="file name, tab, class"):
        local.tiny_imagenet(root=str(tmp_path))


def write_imagenet(root) -> None:
    for part, first in (("train", 0), ("val", 50)):
        for number, wnid in enumerate(("n01", "n02")):
            for picture in range(3):
                paint(root / part / wnid / f"{picture}.JPEG", first + 10 * number + picture, (40, 30))


def test_imagenet_decodes_lazily(tmp_path):
    write_imagenet(tmp_path)
    data = local.imagenet(root=str(tmp_path), image_size=16)
    assert data.train.image_shape == data.test.image_shape == (3, 16, 16)
    assert data.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert isinstance(data.test.x, LazyFolder)
    image = data.test.x.decode(4, None, train=False)
    assert image.dtype == torch.uint8
    assert image.unique().tolist() == [61]
    assert data.train.x.decode(2, torch.Generator().manual_seed(0), train=True).unique().tolist() == [2]
    (tmp_path / "val" / "n02").rename(tmp_path / "val" / "n03")
    with pytest.raises(InputError, match=r"n02 \(only train\), n03 \(only test\)"):
        local.imagenet(root=str(tmp_path))


def test_the_test_crop_is_224_of_256(tmp_path):
    """A picture whose shorter side is 256 is cropped and not resized, so pixels stay exactly as they are."""
    values = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (256, 300, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = LazyFolder((str(tmp_path / "a.png"),), 224).decode(0, None, train=False)
    assert np.array_equal(image, values[16:240, 38:262].transpose(2, 0, 1))


def test_random_boxes_follow_the_law_of_random_resized_crop():
    generator = torch.Generator().manual_seed(0)
    boxes = np.array([random_box(400, 400, generator) for _ in range(4000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes[:, 2:].max() <= 400
    share, ratio = width * height / 400**2, width / height
    assert share.min() > 0.079
    assert ratio.min() > 0.74
    assert ratio.max() < 1.36
    # Small crops always fit: area uniform on [0.08, 0.5] (standard error 0.003), log(ratio) uniform too.
    small = share < 0.5
    assert share[small].mean() == pytest.approx(0.29, abs=0.012)
    assert np.log(ratio[small]).mean() == pytest.approx(0.0, abs=0.02)
    assert random_box(1000, 10, generator) == (493, 0, 506, 10), (
        "too long for any draw: the largest central crop"
    )
    assert random_box(10, 1000, generator) == (0, 493, 10, 506)
    assert random_box(1, 1, None) == (0, 0, 1, 1)


def test_a_lazily_decoded_picture_that_is_damaged_is_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.jpg"):
        LazyFolder((str(tmp_path / "bad.jpg"),), 8).decode(0, None, train=False)


@pytest.mark.parametrize(
    ("reader", "file", "how"),
    [
        (local.cifar10, "data_batch_1", "dataset.download=true"),
        (local.cifar100, "train", "dataset.download=true"),
        (local.svhn, "train_32x32.mat", "dataset.download=true"),
        (local.cifar10_500k, "ti_500K_pseudo_labeled.pickle", "github.com/yaircarmon/semisup-adv"),
        (local.tiny_imagenet, "train", "tiny-imagenet-200.zip"),
        (local.imagenet, "train", "unpack ILSVRC2012"),
    ],
)
def test_a_missing_dataset_says_which_file_where_and_how_to_get_it(tmp_path, reader, file, how):
    with pytest.raises(InputError) as caught:
        reader(root=str(tmp_path / "none"))
    message = str(caught.value)
    assert message.startswith(f"expected {reader.__name__}'s {file} in {tmp_path / 'none'}")
    assert how in message
    assert "\n" not in message


@NOT_OFFICIAL
@pytest.mark.parametrize("missing", ["data_batch_3", "test_batch", "batches.meta"])
def test_one_missing_file_is_named(tmp_path, missing):
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / missing).unlink()
    with pytest.raises(InputError, match=f"cifar10's {missing} in"):
        local.cifar10(root=str(tmp_path))


@NOT_OFFICIAL
@pytest.mark.parametrize(
    ("reader", "name"), [(local.cifar10, "CIFAR10"), (local.cifar100, "CIFAR100"), (local.svhn, "SVHN")]
)
def test_download_goes_to_torchvision_and_no_network_is_one_line(tmp_path, monkeypatch, reader, name):
    asked = []

    class Reader(getattr(local, name)):
        def __init__(self, root, download=False, **_):
            asked.append((str(root), download))
            raise urllib.error.URLError("no network\nat all")

    monkeypatch.setattr(local, name, Reader)
    with pytest.raises(InputError, match=r"expected to download .*no network at all") as caught:
        reader(root=str(tmp_path / "new"), download=True)
    assert "\n" not in str(caught.value)
    assert asked == [(str(tmp_path / "new"), True)]
    asked.clear()
    with pytest.raises(InputError, match="came nothing there"):
        reader(root=str(tmp_path / "new"))
    assert asked == [], "nothing is fetched unasked"
