"""The pictures of the studies that look inside a network: what they draw, and that they are whole files."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from advarch.errors import InputError
from advarch.reports import attention, fsp, gradient_variance, landscape
from advarch.reports.canvas import digits

STEPS = [-1.0, -0.5, 0.0, 0.5, 1.0]


def surface(loss: Callable[[float, float], float]) -> dict[str, list[float]]:
    points = [(a, b, loss(a, b)) for a in STEPS for b in STEPS]
    return dict(zip(("alpha", "beta", "loss"), map(list, zip(*points, strict=True)), strict=True))


FSP = {"cell": [0, 1, 2, 3], "distance": [0.1, 0.2, 0.3, 0.4], "error": [0.01, 0.0, 0.02, 0.1]}
ACCURACY = {"clean_accuracy": 0.8, "robust_accuracy": 0.5}
PLANE = {"centre": 3.0, "lowest": 0.0, "highest": 6.0}
WEIGHTS = {"module": [1, 1, 2, 2], "block": ["residual", "dense"] * 2, "weight": [0.4, 0.6, 0.8, 0.2]}

PICTURES: dict[str, tuple[Any, dict[str, float], dict[str, list[Any]]]] = {
    "fsp": (fsp, {"deep": 0.35, "deep_cells": 2} | ACCURACY, FSP),
    "fsp of one cell, all equal": (
        fsp,
        {"deep": 0.0, "deep_cells": 1} | ACCURACY,
        {"cell": [0], "distance": [0.0], "error": [0.0]},
    ),
    "fsp over orders of magnitude": (
        fsp,
        {"deep": 1e4, "deep_cells": 4} | ACCURACY,
        FSP | {"distance": [1e-3, 1.0, 10.0, 4e4]},
    ),
    "landscape": (landscape, PLANE, surface(lambda a, b: 3 + a + 2 * b)),
    "landscape, steep": (landscape, PLANE, surface(lambda a, b: math.exp(9 * (a * a + b * b)))),
    "landscape, flat": (landscape, PLANE, surface(lambda a, b: 0.0)),
    "landscape with a hole": (landscape, PLANE, surface(lambda a, b: math.inf if a == b == 1 else 3 + a)),
    "gradient variance": (
        gradient_variance,
        {"variance": 2.0, "relative_deviation": 0.5},
        {"batch": [1, 2], "deviation": [3.0, 1.0]},
    ),
    "attention": (attention, {}, WEIGHTS),
    "attention, spread": (attention, {}, WEIGHTS | {"deviation": [0.1, 0.1, 0.05, 0.0]}),
    "attention, pruned": (attention, {}, {"module": [1, 2], "block": ["mbconv", "ark"], "weight": [1.0, 1.0]}),
}  # fmt: skip


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(image.imread(io.BytesIO(png), format="png"))[..., :3]


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_in_ink_on_its_paper_and_written_whole(name: str, tmp_path: Path) -> None:
    study, numbers, table = PICTURES[name]
    shown = pixels(study.draw(numbers, table, tmp_path / "study.png").read_bytes())
    assert shown.std() > 0.02 and shown[0, 0].min() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["study.png"]


def test_a_dark_page_has_dark_paper_and_equal_input_gives_equal_bytes() -> None:
    study, numbers, table = PICTURES["landscape"]
    dark, again = (study.render(numbers, table, dark=True) for _ in range(2))
    assert dark == again and pixels(dark)[0, 0].max() < 0.2


def test_the_map_has_alpha_to_the_right_and_beta_upwards() -> None:
    steps, rows = landscape.grid(surface(lambda a, b: a + 10 * b))
    assert steps == STEPS and rows[0][:2] == [-11.0, -10.5] and rows[1][0] == -6.0
    shown = pixels(landscape.render(PLANE, surface(lambda a, b: 3 + a + 2 * b)))
    height, width = shown.shape[:2]
    left, right, low, high = (round(at) for at in (0.11 * width, 0.41 * width, 0.83 * height, 0.22 * height))
    # Viridis goes from violet over green to yellow, so green grows with the loss, which beta moves more than alpha.
    green = [shown[row, column, 1] for row, column in ((low, left), (low, right), (high, left), (high, right))]  # fmt: skip
    assert green == sorted(green) and green[3] - green[0] > 0.5


def test_the_spread_of_attention_over_networks() -> None:
    other = WEIGHTS | {"weight": [0.6, 0.4, 0.8, 0.2]}
    found = attention.spread([WEIGHTS, other])
    assert (found["module"], found["block"]) == (WEIGHTS["module"], WEIGHTS["block"])
    assert found["weight"] == pytest.approx([0.5, 0.5, 0.8, 0.2])
    assert found["deviation"] == pytest.approx([0.1, 0.1, 0.0, 0.0])
    assert attention.spread([WEIGHTS])["deviation"] == [0.0] * 4


def test_networks_that_can_t_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="expected at least one network, came none"):
        attention.spread([])
    with pytest.raises(InputError, match="expected networks of the same modules and blocks"):
        attention.spread([WEIGHTS, WEIGHTS | {"block": ["ark", "dense"] * 2}])


@pytest.mark.parametrize(
    ("value", "said"), [(0.36468, "0.365"), (99.94, "99.9"), (1601.4, "1,601"), (0.0, "0")]
)
def test_numbers_in_words(value: float, said: str) -> None:
    assert digits(value) == said
