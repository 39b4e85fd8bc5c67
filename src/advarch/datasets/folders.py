"""Your own pictures: one folder for each class, any size, any common format."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt

from advarch.datasets.cache import File, decoded
from advarch.datasets.decode import EXTENSIONS
from advarch.datasets.images import ImageData, Part
from advarch.datasets.splits import stratified
from advarch.errors import InputError
from advarch.noise import derive_seed

NAMED = 5
"""Damaged files named in a message; their number is always given."""


@dataclass(frozen=True, eq=False)
class Listing:
    """Picture files and their labels: `y` is int64 (files,), an index into `classes`."""

    classes: tuple[str, ...]
    files: tuple[File, ...]
    y: np.ndarray

    def choose(self, positions: np.ndarray) -> "Listing":
        """The listing of some of the files, of the same classes."""
        return Listing(self.classes, tuple(self.files[position] for position in positions), self.y[positions])


def image_folder(
    *,
    root: str,
    image_size: Annotated[int, Ge(1)],
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    split_seed: int = 0,
    skip_damaged: bool = False,
) -> ImageData:
    """Pictures in `train/<class>/` and `test/<class>/`, or in one tree `<class>/` that is split by a seed.

    Every picture becomes RGB, its shorter side is resized to `image_size` and its centre is cropped. They are
    decoded once, in parallel, into a cached byte array in `<root>/.advarch/`, or under
    $XDG_CACHE_HOME/advarch (default ~/.cache/advarch) when the root can't be written to. Files of other types
    and hidden ones are ignored. Classes are sorted by name.

    Args:
        root: the folder.
        image_size: height and width, pixels.
        test_fraction: of one tree, the share of each class that is set apart as the test part.
        split_seed: of that choice. It is the dataset's own, so that every experiment has the same test part.
        skip_damaged: leave out files that can't be decoded, with a warning that names them.

    Raises:
        InputError: a folder is missing or empty, training and test classes differ, or files are damaged.
    """
    folder = Path(root)
    train, test = _two_parts(folder, test_fraction, split_seed)
    return from_listings(
        name="image_folder",
        root=folder,
        train=train,
        test=test,
        image_size=image_size,
        skip_damaged=skip_damaged,
    )


def whole_folder(root: Path, image_size: int) -> tuple[Part, tuple[str, ...]]:
    """All pictures below `root`/<class>/, of `root`/test/<class>/ where there is that, and the classes' names.

    For a network that was trained elsewhere: nothing is set apart. Decoded as by `image_folder`.

    Raises:
        InputError: the folder is missing or empty, or files are damaged.
    """
    folder = root / "test" if (root / "test").is_dir() else root
    files = listing(root, folder)
    found = decoded(root, files.files, image_size=image_size, label=f"decoding pictures of {folder}")
    if found.damaged:
        raise InputError(
            f"expected readable pictures in {root}, came {len(found.damaged)} damaged: "
            f"{_named(found.damaged, NAMED)}; replace or remove them"
        )
    return Part(x=found.x, y=files.y), files.classes


def from_listings(
    *, name: str, root: Path, train: Listing, test: Listing, image_size: int, skip_damaged: bool
) -> ImageData:
    """Decode (or read from the cache) the files of both parts.

    Raises:
        InputError: files are damaged and `skip_damaged` is false, or a class loses all its training pictures.
    """
    parts: list[Part] = []
    damaged: list[tuple[str, str]] = []
    for which, listing in (("training", train), ("test", test)):
        label = f"decoding {len(listing.files)} {which} pictures of {root}"
        found = decoded(root, listing.files, image_size=image_size, label=label)
        damaged += found.damaged
        parts.append(Part(x=found.x, y=listing.y[found.intact]))
    if damaged and not skip_damaged:
        raise InputError(
            f"expected readable pictures in {root}, came {len(damaged)} damaged: {_named(damaged, NAMED)}; "
            "replace or remove them, or leave them out with dataset.skip_damaged=true"
        )
    if damaged:
        left_out = _named(damaged, len(damaged))
        warnings.warn(f"{len(damaged)} damaged pictures of {root} are left out: {left_out}", stacklevel=2)
    count = np.bincount(parts[0].y, minlength=len(train.classes))
    if not count.all():
        raise InputError(
            f"expected at least one training picture of each class in {root}, came none of "
            f"{train.classes[int(count.argmin())]}; add some, or remove the class"
        )
    return ImageData(name=name, train=parts[0], test=parts[1], classes=train.classes)


def listing(root: Path, folder: Path) -> Listing:
    """The pictures of `folder`/<class>/, at any depth: classes and paths sorted, paths relative to `root`.

    Raises:
        InputError: the folder is missing, has no class folders, or a class has no pictures.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder {folder}, came nothing there; check dataset.root")
    classes = sorted(
        each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")
    )
    if not classes:
        raise InputError(
            f"expected one folder for each class in {folder}, came no folder; sort the pictures into "
            "<class>/ folders"
        )
    files, labels = [], []
    for label, name in enumerate(classes):
        of_class = picture_files(root, folder / name)
        if not of_class:
            raise InputError(
                f"expected pictures ({', '.join(sorted(EXTENSIONS))}) in {folder / name}, came none; "
                "add some, or remove the folder"
            )
        files += of_class
        labels += [label] * len(of_class)
    return Listing(tuple(classes), tuple(files), np.array(labels, dtype=np.int64))


def picture_files(root: Path, folder: Path) -> list[File]:
    """Every picture at or below `folder`, sorted by path; hidden files and folders are ignored."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                found.append(picture_file(root, Path(place, name)))
    return sorted(found, key=lambda file: file.path)


def picture_file(root: Path, path: Path) -> File:
    """What identifies a picture: where it lies, its size and when it changed."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(
            f"expected a readable file {path}, came: {error.strerror}; remove it or mend the link"
        ) from error
    return File(path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns)


def same_classes(train: Listing, test: Listing, where: Path) -> None:
    """Refuse a test part whose classes are not those of the training part."""
    differing = sorted(set(train.classes) ^ set(test.classes))
    if differing:
        sides = ", ".join(
            f"{name} (only {'train' if name in train.classes else 'test'})" for name in differing[:5]
        )
        raise InputError(
            f"expected the same class folders for training and testing in {where}, came {len(differing)} "
            "that differ: "
            f"{sides}; rename or remove them"
        )


def _two_parts(root: Path, test_fraction: float, split_seed: int) -> tuple[Listing, Listing]:
    has_train, has_test = (root / "train").is_dir(), (root / "test").is_dir()
    if has_train and has_test:
        train, test = listing(root, root / "train"), listing(root, root / "test")
        same_classes(train, test, root)
        return train, test
    if has_train or has_test:
        there, absent = ("train", "test") if has_train else ("test", "train")
        raise InputError(
            f"expected both train/ and test/ in {root}, came {there}/ without {absent}/; add {absent}/, "
            "or put the class folders right into the root to have them split"
        )
    whole = listing(root, root)
    count = round(test_fraction * len(whole.files))
    if not 0 < count < len(whole.files):
        raise InputError(
            f"expected a training and a test picture among the {len(whole.files)} in {root}, came "
            f"test_fraction={test_fraction}; add pictures or change dataset.source.test_fraction"
        )
    chosen = stratified(whole.y, count=count, seed=derive_seed("image_folder", "test", split_seed))
    rest = np.setdiff1d(np.arange(len(whole.files)), chosen, assume_unique=True)
    return whole.choose(rest), whole.choose(chosen)


def _named(damaged: Sequence[tuple[str, str]], most: int) -> str:
    shown = ", ".join(f"{path} ({reason})" for path, reason in damaged[:most])
    return shown + (", ..." if len(damaged) > most else "")
