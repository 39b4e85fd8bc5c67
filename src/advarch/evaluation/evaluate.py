"""Attack a network with a suite and keep the outcome of every image."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Len
from torch import Tensor, nn

from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, derive_seed
from advarch.records import AttackResult
from advarch.threat import Threat
from advarch.types import Attack, Batch

UNKNOWN, WRONG, RIGHT = -1, 0, 1


@dataclass(frozen=True)
class Suite:
    """Named attacks and how they are run.

    Args:
        attacks: name of the column -> attack, its threat bound.
        checkpoints: which weights: best on robust validation accuracy, last epoch.
        batch_size: images at a time; the outcome does not depend on it.
        limit: the first n test images only.
    """

    attacks: Mapping[str, Attack]
    checkpoints: Annotated[Sequence[Literal["best", "last"]], Len(1)] = ("best", "last")
    batch_size: Annotated[int, Ge(1)] = 500
    limit: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.attacks, Mapping):
            raise ValueError(f"attacks: expected name: attack, came {self.attacks!r}")


@dataclass
class Outcome:
    """What one attack did to each image; written to outcomes.npz as it grows.

    index: int64 (images,), which image of the test set each entry is about.
    correct: int8 (images,), -1 not evaluated yet, 0 misclassified, 1 keeps its label.
    distance: float32 (images,), ||x_adv - x|| where the attack fooled the network, else NaN.
    forwards, seconds: what it cost so far.
    """

    index: np.ndarray
    correct: np.ndarray
    distance: np.ndarray
    forwards: int = 0
    seconds: float = 0.0

    @classmethod
    def unknown(cls, index: np.ndarray) -> "Outcome":
        """Nothing evaluated yet of these images."""
        return cls(index, np.full(len(index), UNKNOWN, np.int8), np.full(len(index), np.nan, np.float32))

    @property
    def complete(self) -> bool:
        """Whether every image has been evaluated."""
        return bool((self.correct != UNKNOWN).all())


class Counted(nn.Module):
    """A network that counts the images it has seen, twice where a gradient was asked for: a backward pass costs a forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x) * (2 if x.requires_grad else 1)
        return self.model(x)


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    name: str,
    attack: Attack | None,
    outcome: Outcome,
    *,
    threat: Threat,
    seed: int,
    clean: np.ndarray | None = None,
    save: Callable[[], None] | None = None,
) -> None:
    """Fill `outcome` for the images that are not evaluated yet.

    An image that is misclassified without any attack counts as misclassified and is not attacked: it lies inside its own
    ball. Each image draws from its own random stream, a function of (seed, attack, index), so neither batch size nor order
    nor a kill in between changes the outcome.

    Args:
        model: images in [0, 1] -> logits; put in eval mode here and back afterwards.
        batches: the test images, with their indices.
        name: the column's name, part of the random stream.
        attack: None evaluates the clean images.
        outcome: filled in place.
        threat: in whose norm distances are measured.
        seed: of the random streams.
        clean: per image, whether it is classified right without an attack; needed with an attack.
        save: called after each batch.
    """
    counted = Counted(model)
    order = np.argsort(outcome.index)
    with attack_mode(counted, "eval"):
        for x, y, index in batches:
            positions = order[np.searchsorted(outcome.index, index.cpu().numpy(), sorter=order)]
            todo = outcome.correct[positions] == UNKNOWN
            if not todo.any():
                continue
            began, before = time.perf_counter(), counted.forwards
            if attack is None:
                outcome.correct[positions] = _verdicts(_right(counted, x, y))
            else:
                assert clean is not None
                standing = torch.from_numpy(clean[positions] == RIGHT).to(x.device)
                x, y, index = x[standing], y[standing], index[standing]
                generator = ExampleGenerator(derive_seed(seed, "evaluation", name), index)
                x_adv = attack(counted, x, y, generator=generator)
                correct = _right(counted, x_adv, y)
                kept = positions[standing.cpu().numpy()]
                outcome.correct[positions] = WRONG
                outcome.correct[kept] = _verdicts(correct)
                distance = threat.distance(x_adv, x).masked_fill(correct, math.nan)
                outcome.distance[kept] = distance.float().cpu().numpy()
            outcome.forwards += counted.forwards - before
            outcome.seconds += time.perf_counter() - began
            if save is not None:
                save()


def result(name: str, outcome: Outcome, settings: str) -> AttackResult:
    """The column that an outcome amounts to."""
    total = len(outcome.correct)
    correct = int((outcome.correct == RIGHT).sum())
    low, high = wilson(correct, total)
    fooled = outcome.distance[~np.isnan(outcome.distance)]
    return AttackResult(
        name=name,
        correct=correct,
        total=total,
        low=low,
        high=high,
        mean_distance=float(fooled.mean()) if len(fooled) else None,
        median_distance=float(np.median(fooled)) if len(fooled) else None,
        forwards=outcome.forwards,
        seconds=outcome.seconds,
        settings=settings,
    )


def wilson(correct: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval of a proportion: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n); 95 % by default."""
    p = correct / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def save_outcomes(outcomes: Mapping[str, Outcome], settings: Mapping[str, str], file: Any) -> None:
    """All outcomes as one .npz: for each "checkpoint/column" its arrays, what it cost, and the digest of its settings."""
    arrays: dict[str, np.ndarray] = {}
    for key, outcome in outcomes.items():
        arrays[f"{key}/index"] = outcome.index
        arrays[f"{key}/correct"] = outcome.correct
        arrays[f"{key}/distance"] = outcome.distance
        arrays[f"{key}/cost"] = np.array([outcome.forwards, outcome.seconds])
        arrays[f"{key}/settings"] = np.array(settings[key])
    np.savez_compressed(file, allow_pickle=False, **arrays)


def load_outcomes(file: Any) -> tuple[dict[str, Outcome], dict[str, str]]:
    """What `save_outcomes` wrote. Nothing in the file can run code."""
    outcomes, settings = {}, {}
    with np.load(file, allow_pickle=False) as arrays:
        for name in arrays.files:
            key, _, part = name.rpartition("/")
            if part == "correct":
                forwards, seconds = arrays[f"{key}/cost"]
                index, correct, distance = (
                    arrays[f"{key}/{array}"] for array in ("index", "correct", "distance")
                )
                outcomes[key] = Outcome(index, correct, distance, int(forwards), float(seconds))
                settings[key] = str(arrays[f"{key}/settings"])
    return outcomes, settings


def _verdicts(correct: Tensor) -> np.ndarray:
    return np.where(correct.cpu().numpy(), RIGHT, WRONG).astype(np.int8)


def _right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y
