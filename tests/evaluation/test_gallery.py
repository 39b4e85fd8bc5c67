"""The picture of a few images: clean, adversarial, and the difference around grey."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from advarch.evaluation.gallery import GAP, MARGIN, TILE, Example, draw


def flat(value: float, channels: int) -> np.ndarray:
    return np.full((channels, 4, 6), value, dtype=np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_stands_in_its_column_and_the_largest_difference_spans_the_range(
    channels: int, tmp_path: Path
) -> None:
    made = [(0.2, 0.4), (0.6, 0.5), (0.9, 0.7)]
    shown = [
        Example(flat(x, channels), flat(adversarial, channels), label, fooled=label == 0)
        for label, (x, adversarial) in enumerate(made)
    ]
    draw(tmp_path / "gallery.png", shown, "pgd20", ["zero", "one", "two"])
    picture = imread(tmp_path / "gallery.png")
    tall = TILE * 4 / 6
    for column, (x, adversarial) in enumerate(made):
        # 0.2 is the largest difference, so 2.5 times any difference lies within half the range.
        for row, expected in enumerate((x, adversarial, 0.5 + 2.5 * (adversarial - x))):
            across = MARGIN + column * (TILE + GAP) + TILE / 2
            down = MARGIN + row * (tall + GAP) + tall / 2
            found = picture[round(130 * down), round(130 * across), :3]
            assert found == pytest.approx(expected, abs=0.005), (row, column)
    assert (picture[:5, :5, :3] == 1).all(), "white around the images"


def test_equal_images_differ_by_grey(tmp_path: Path) -> None:
    draw(tmp_path / "gallery.png", [Example(flat(0.3, 1), flat(0.3, 1), 7, fooled=False)], "none", [])
    picture = imread(tmp_path / "gallery.png")
    tall = TILE * 4 / 6
    down, across = MARGIN + 2 * (tall + GAP) + tall / 2, MARGIN + TILE / 2
    assert picture[round(130 * down), round(130 * across), 0] == pytest.approx(0.5, abs=0.005)
