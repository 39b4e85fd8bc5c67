"""Public datasets read from a local folder, some of them downloaded on request."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from torchvision.datasets import CIFAR10, CIFAR100, SVHN
from torchvision.datasets.utils import check_integrity

from advarch.datasets import folders
from advarch.datasets.images import ImageData, Part
from advarch.datasets.lazy import LazyFolder
from advarch.datasets.pickles import read_arrays
from advarch.errors import InputError

PSEUDO_LABELED = "ti_500K_pseudo_labeled.pickle"
"""The file of Carmon et al. (2019), "Unlabeled Data Improves Adversarial Robustness"."""

DOWNLOAD = "download it with dataset.download=true"


def cifar10(*, root: str, download: bool = False) -> ImageData:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images 3x32x32.

    Read from `<root>/cifar-10-batches-py/`. The files are pickles; they are read without running anything in
    them, so a changed file is a warning and not a danger.

    Args:
        root: the folder that holds `cifar-10-batches-py`.
        download: let torchvision fetch the official archive if the files aren't there.
    """
    return _cifar("cifar10", CIFAR10, Path(root), download, label_key="labels")


def cifar100(*, root: str, download: bool = False) -> ImageData:
    """CIFAR-100 (Krizhevsky, 2009), the 100 fine labels: 50,000 training and 10,000 test images 3x32x32.

    Read from `<root>/cifar-100-python/`, as `cifar10`.
    """
    return _cifar("cifar100", CIFAR100, Path(root), download, label_key="fine_labels")


def svhn(*, root: str, download: bool = False) -> ImageData:
    """SVHN's cropped digits (Netzer et al., 2011): 73,257 training and 26,032 test images 3x32x32.

    Read from `<root>/train_32x32.mat` and `test_32x32.mat`; the `extra` images are not used. The files call
    the digit 0 class 10; here it is class 0, as in torchvision.

    Args:
        root: the folder of the two files.
        download: let torchvision fetch them if they aren't there.
    """
    from scipy.io import loadmat  # scikit-learn brings it; only SVHN needs it

    folder = Path(root)
    if download:
        _download(
            "svhn", folder, lambda: [SVHN(root, split=split, download=True) for split in ("train", "test")]
        )
    official = [(name, md5) for _, name, md5 in (SVHN.split_list["train"], SVHN.split_list["test"])]
    _require("svhn", folder, [name for name, _ in official], DOWNLOAD)
    _check_official("svhn", folder, official)
    parts = []
    for name, _ in official:
        try:
            content = loadmat(folder / name)
            x = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
            y = content["y"].reshape(-1).astype(np.int64) % 10
        except Exception as error:  # a damaged file makes the reader raise almost anything
            raise InputError(
                f"expected images X and labels y in {folder / name}, came {type(error).__name__} ({error}); "
                "remove the file and " + DOWNLOAD
            ) from error
        parts.append(Part(x=x, y=y))
    return ImageData(name="svhn", train=parts[0], test=parts[1], classes=tuple("0123456789"))


def cifar10_500k(*, root: str, download: bool = False) -> ImageData:
    """CIFAR-10 and the 500,000 images of RST with guessed labels (Carmon et al., 2019).

    The training part is CIFAR-10's 50,000 images followed by the 500,000; `Part.pseudo` tells them apart. The
    file `ti_500K_pseudo_labeled.pickle` lies in `root` beside `cifar-10-batches-py`; it holds `data`, uint8
    (n, 32, 32, 3), and `extrapolated_targets`, int (n,), and is read without running anything in it.

    Args:
        root: the folder of both.
        download: let torchvision fetch CIFAR-10; the 500,000 images have to be fetched by hand.
    """
    folder = Path(root)
    how = f"get {PSEUDO_LABELED} by the link in github.com/yaircarmon/semisup-adv and put it there"
    _require("cifar10_500k", folder, [PSEUDO_LABELED], how)
    base = cifar10(root=root, download=download)
    content = read_arrays(folder / PSEUDO_LABELED)
    extra, guessed = _arrays(folder / PSEUDO_LABELED, content, ("data", "extrapolated_targets"))
    if extra.dtype != np.uint8 or extra.shape != (len(guessed), 32, 32, 3):
        raise InputError(
            f"expected `data` as uint8 ({len(guessed)}, 32, 32, 3) in {folder / PSEUDO_LABELED}, came "
            f"{extra.dtype} "
            f"{extra.shape}; get the file once more"
        )
    known = len(base.train)
    x = np.empty((known + len(extra), 3, 32, 32), dtype=np.uint8)  # filled in place: 1.7 GB are enough once
    assert isinstance(base.train.x, np.ndarray)  # CIFAR-10 decodes nothing lazily
    x[:known], x[known:] = base.train.x, extra.transpose(0, 3, 1, 2)
    y = np.concatenate([base.train.y, guessed.astype(np.int64)])
    pseudo = np.arange(len(y)) >= known
    return ImageData(
        name="cifar10_500k", train=Part(x=x, y=y, pseudo=pseudo), test=base.test, classes=base.classes
    )


def tiny_imagenet(
    *, root: str, image_size: Annotated[int, Ge(1)] = 64, skip_damaged: bool = False
) -> ImageData:
    """Tiny-ImageNet: 200 classes, 100,000 training images 3x64x64; its 10,000 for validation test.

    Read from `<root>/train/<wnid>/images/*.JPEG`, `<root>/val/images/` and `<root>/val/val_annotations.txt`,
    decoded once into a cached array as in `folders.image_folder`. The archive's own test images carry no
    labels.

    Args:
        root: the unpacked folder tiny-imagenet-200.
        image_size: height and width, pixels; the pictures are 64x64.
        skip_damaged: leave out files that can't be decoded, with a warning that names them.
    """
    folder = Path(root)
    how = "unpack cs231n.stanford.edu/tiny-imagenet-200.zip and set dataset.root to its folder"
    _require("tiny_imagenet", folder, ["train", "val/images", "val/val_annotations.txt"], how)
    train = folders.listing(folder, folder / "train")
    numbers = {wnid: number for number, wnid in enumerate(train.classes)}
    rows = []
    for line in (folder / "val/val_annotations.txt").read_text(encoding="utf-8").splitlines():
        columns = line.split("\t")
        if len(columns) < 2 or columns[1] not in numbers:
            raise InputError(
                f"expected lines of file name, tab, class in {folder / 'val/val_annotations.txt'}, came "
                f"{line!r}; {how}"
            )
        rows.append((columns[0], numbers[columns[1]]))
    rows.sort()
    files = tuple(folders.picture_file(folder, folder / "val/images" / name) for name, _ in rows)
    test = folders.Listing(train.classes, files, np.array([number for _, number in rows], dtype=np.int64))
    return folders.from_listings(
        name="tiny_imagenet",
        root=folder,
        train=train,
        test=test,
        image_size=image_size,
        skip_damaged=skip_damaged,
    )


def imagenet(*, root: str, image_size: Annotated[int, Ge(1)] = 224) -> ImageData:
    """ImageNet (ILSVRC 2012): 1,000 classes; the 50,000 validation images are the test part.

    Read from `<root>/train/<wnid>/` and `<root>/val/<wnid>/`. Nothing is cached: worker processes decode each
    picture when a batch asks for it, in training a random crop (scale 0.08 to 1) resized to `image_size`, in
    testing the shorter side resized to 256/224 of `image_size` and the centre cropped.

    Args:
        root: the folder of train/ and val/.
        image_size: height and width, pixels.
    """
    folder = Path(root)
    how = "unpack ILSVRC2012 (image-net.org) into train/<wnid>/ and val/<wnid>/ and set dataset.root to it"
    _require("imagenet", folder, ["train", "val"], how)
    train, test = folders.listing(folder, folder / "train"), folders.listing(folder, folder / "val")
    folders.same_classes(train, test, folder)
    parts = [
        Part(x=LazyFolder(tuple(str(folder / file.path) for file in listing.files), image_size), y=listing.y)
        for listing in (train, test)
    ]
    return ImageData(name="imagenet", train=parts[0], test=parts[1], classes=train.classes)


def _cifar(name: str, reader: type[CIFAR10], root: Path, download: bool, *, label_key: str) -> ImageData:
    if download:
        _download(name, root, lambda: reader(str(root), download=True))
    folder = root / reader.base_folder
    meta_file, names_key = reader.meta["filename"], reader.meta["key"]
    files = [*reader.train_list, *reader.test_list, [meta_file, reader.meta["md5"]]]
    _require(name, folder, [file for file, _ in files], DOWNLOAD)
    _check_official(name, folder, [(file, md5) for file, md5 in files])
    classes = read_arrays(folder / meta_file).get(names_key)
    if not isinstance(classes, list):
        raise InputError(
            f"expected a list {names_key} in {folder / meta_file}, came none; remove {folder} and {DOWNLOAD}"
        )
    parts = []
    for listed in (reader.train_list, reader.test_list):
        pairs = [_cifar_file(folder / file, label_key) for file, _ in listed]
        parts.append(Part(x=np.concatenate([x for x, _ in pairs]), y=np.concatenate([y for _, y in pairs])))
    return ImageData(name=name, train=parts[0], test=parts[1], classes=tuple(map(str, classes)))


def _cifar_file(path: Path, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    data, labels = _arrays(path, read_arrays(path), ("data", label_key))
    if data.dtype != np.uint8 or data.shape != (len(labels), 3072):
        raise InputError(
            f"expected `data` as uint8 ({len(labels)}, 3072) in {path}, came {data.dtype} {data.shape}; "
            "get the file once more"
        )
    return data.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _arrays(path: Path, content: dict[str, Any], keys: Sequence[str]) -> list[np.ndarray]:
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(
            f"expected {' and '.join(keys)} in {path}, came {', '.join(content) or 'nothing'}; get the file "
            "once more"
        )
    return [np.asarray(content[key]) for key in keys]


def _require(name: str, folder: Path, files: Sequence[str], how: str) -> None:
    for file in files:
        if not (folder / file).exists():
            raise InputError(f"expected {name}'s {file} in {folder.absolute()}, came nothing there; {how}")


def _download(name: str, root: Path, fetch: Callable[[], object]) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        fetch()
    except (OSError, RuntimeError) as error:
        # torchvision says RuntimeError where a checksum is wrong and OSError where there is no network.
        raise InputError(
            f"expected to download {name} to {root.absolute()}, came: {' '.join(str(error).split())}; "
            "check the network and the space there, or copy the files by hand"
        ) from error


def _check_official(name: str, folder: Path, files: Sequence[tuple[str, str]]) -> None:
    """Numbers from other files than the official ones can't be compared with published ones."""
    changed = [file for file, md5 in files if not check_integrity(str(folder / file), md5)]
    if changed:
        warnings.warn(
            f"{name} in {folder} is not the official one: {', '.join(changed)} have another md5 sum",
            stacklevel=3,
        )
