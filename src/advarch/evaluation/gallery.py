"""Adversarial images kept on request, and a picture of a few of them."""

import fcntl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advarch.files import replace_atomic

TILE, GAP, MARGIN = 1.15, 0.2, 0.6
"""Inches: the width of a shown image, what lies between two, and the room for words above and to the left."""


@dataclass(frozen=True)
class Example:
    """One image for the gallery: (channel, height, width) in [0, 1], its label and what the network says now."""

    x: np.ndarray
    x_adv: np.ndarray
    label: int
    fooled: bool


def open_images(path: Path, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """A .npy file of float32 images (count, channel, height, width), written in place; NaN where none was made yet.

    Several processes may open it, each to fill places of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if path.exists():
            found = np.load(path, mmap_mode="r+", allow_pickle=False)
            if found.shape == (count, *shape):
                return found
        made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, *shape))
        made[:] = np.nan
        return made


def examples(x: Tensor, y: Tensor, x_adv: Tensor, fooled: Tensor, count: int) -> list[Example]:
    """The first images of a batch, fooled ones first."""
    order = torch.argsort(~fooled, stable=True)[:count].tolist()
    return [
        Example(x[i].cpu().numpy(), x_adv[i].float().cpu().numpy(), int(y[i]), bool(fooled[i])) for i in order
    ]


def draw(path: Path, shown: Sequence[Example], title: str, classes: Sequence[str]) -> None:
    """Write the gallery: a column per image; clean, adversarial, and their difference around grey, amplified.

    The factor is the largest that keeps every difference in range; it stands beside the row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    largest = max(float(np.abs(e.x_adv - e.x).max()) for e in shown)
    factor = 0.5 / largest if largest > 0 else 1.0
    rows = (
        ("clean", [e.x for e in shown]),
        ("adversarial", [e.x_adv for e in shown]),
        (f"difference × {factor:.3g}", [0.5 + factor * (e.x_adv - e.x) for e in shown]),
    )
    tall = TILE * shown[0].x.shape[1] / shown[0].x.shape[2]
    width, height = MARGIN + len(shown) * (TILE + GAP), MARGIN + 3 * (tall + GAP)
    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    # One plain plane in inches: axes of their own for each image took ten times as long as the rest.
    plane = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    plane.axis("off")
    plane.text(width / 2, 0.2, title, size=9, ha="center", va="center")
    for row, (name, pictures) in enumerate(rows):
        top = MARGIN + row * (tall + GAP)
        plane.text(0.35, top + tall / 2, name, size=8, ha="center", va="center", rotation=90)
        for column, (picture, example) in enumerate(zip(pictures, shown, strict=True)):
            left = MARGIN + column * (TILE + GAP)
            place = (left, left + TILE, top + tall, top)
            plane.imshow(
                _picture(picture),
                cmap="gray",
                vmin=0,
                vmax=1,
                interpolation="nearest",
                extent=place,
                aspect="auto",
            )
            if row == 0:
                plane.text(left + TILE / 2, top - 0.05, _short(classes, example.label), size=8, ha="center")
            if row == 1:
                said = "fooled" if example.fooled else "stands"
                plane.text(left + TILE / 2, top + tall + 0.13, said, size=7, ha="center")
    replace_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))


def _picture(image: np.ndarray) -> np.ndarray:
    """(channel, height, width) as matplotlib shows it: one channel grey, three as colours, else the first one."""
    clipped = np.clip(np.nan_to_num(image), 0.0, 1.0)
    return clipped.transpose(1, 2, 0) if len(clipped) == 3 else clipped[0]


def _short(classes: Sequence[str], label: int) -> str:
    name = classes[label] if label < len(classes) else str(label)
    return name if len(name) <= 12 else name[:11] + "…"
