"""curves.png of one run: what it says about robust overfitting, and that it draws what there is."""

import io

import numpy as np
import pytest
from matplotlib import image

from advarch.reports.run_curves import drawable, line, overfitting, render

ROWS = [
    {"epoch": epoch, "lr": rate, "train_accuracy": 0.3 + 0.1 * epoch, "val_clean": 0.5, "val_robust": robust}
    for epoch, rate, robust in ((1, 0.1, 0.2), (2, 0.1, 0.4), (3, 0.01, 0.45), (4, 0.01, 0.38))
]


@pytest.mark.parametrize(
    ("best", "rows", "said"),
    [
        (3, ROWS, "best epoch 3: robust 45.0 %; after the last, 4, 7.0 points less"),
        (2, ROWS[:2], "best epoch 2: robust 40.0 %, the last one"),
        (1, [ROWS[0], ROWS[0] | {"epoch": 2}], "best epoch 1: robust 20.0 %; after the last, 2, the same"),
        (None, ROWS, ""),
        (9, ROWS, ""),
    ],
)
def test_robust_overfitting_in_words(best: int | None, rows: list[dict[str, float]], said: str) -> None:
    assert overfitting(rows, best) == said


def test_epochs_that_were_not_validated_have_no_point() -> None:
    rows = [ROWS[0], {"epoch": 2, "lr": 0.1, "train_accuracy": 0.5}, ROWS[2] | {"val_robust": float("nan")}]
    assert line(rows, "val_robust") == [(1, 20.0)] and len(line(rows, "train_accuracy")) == 3
    assert drawable(rows) and not drawable(rows[1:2]) and not drawable([])


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(image.imread(io.BytesIO(png), format="png"))[..., :3]


@pytest.mark.parametrize("dark", [False, True])
def test_the_best_epoch_is_marked_and_equal_input_gives_equal_bytes(dark: bool) -> None:
    marked = render(ROWS, 3, dark=dark)
    assert marked == render(ROWS, 3, dark=dark)
    differing = (pixels(marked) != pixels(render(ROWS, None, dark=dark))).any(axis=2)
    columns = differing[len(differing) // 4 : len(differing) // 2].any(axis=0)
    # A line from top to bottom at epoch 3 of 1 to 4, and nothing else among the curves but its dot.
    assert 1 <= columns.sum() < 40
    assert pixels(marked)[0, 0].mean() < 0.5 if dark else pixels(marked)[0, 0].mean() > 0.9


@pytest.mark.parametrize("rows", [ROWS[:1], [{"epoch": 1, "lr": 0.0, "val_robust": 0.0}]])
def test_a_single_epoch_and_a_rate_of_nought_can_be_drawn(rows: list[dict[str, float]]) -> None:
    assert pixels(render(rows, 1)).std() > 0
