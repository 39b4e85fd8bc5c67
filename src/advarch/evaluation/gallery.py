"""Adversarial images kept on request, and a picture of a few of them."""

import fcntl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advarch.files import replace_atomic


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
    figure = Figure(figsize=(1.3 * len(shown) + 1.3, 4.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(3, len(shown), squeeze=False)
    for number, (name, pictures) in enumerate(rows):
        for axis, picture, example in zip(axes[number], pictures, shown, strict=True):
            axis.imshow(_picture(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if number == 0:
                axis.set_title(_short(classes, example.label), fontsize=8)
            if number == 1:
                axis.set_xlabel("fooled" if example.fooled else "stands", fontsize=7)
        axes[number][0].set_ylabel(name, fontsize=8)
    replace_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))


def _picture(image: np.ndarray) -> np.ndarray:
    """(channel, height, width) as matplotlib shows it: one channel grey, three as colours, else the first one."""
    clipped = np.clip(np.nan_to_num(image), 0.0, 1.0)
    return clipped.transpose(1, 2, 0) if len(clipped) == 3 else clipped[0]


def _short(classes: Sequence[str], label: int) -> str:
    name = classes[label] if label < len(classes) else str(label)
    return name if len(name) <= 12 else name[:11] + "…"
