"""What attacks did to each image, as arrays that grow, on disk, and as the columns of a record."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from advarch.records import AttackResult, PartResult

UNKNOWN, WRONG, RIGHT = -1, 0, 1
COST = ("queries", "forwards", "seconds", "attacked", "invalid", "unstable", "searched", "copied")
"""What is counted: forward passes of single images, those plus backward passes, seconds, images attacked, images whose
point was not allowed, images whose verdict changed with the batch size, images fooled in the search alone, images attacked on a
cheaper copy of the network."""

FEWEST = len(COST) - 1
"""Of a file written before the last of them was counted."""


@dataclass
class Outcome:
    """What one attack did to each image; written to outcomes.npz as it grows.

    index: int64 (images,), which image of the test set each entry is about.
    correct: int8 (images,), -1 not evaluated yet, 0 misclassified, 1 keeps its label.
    distance: float32 (images,), ||x_adv - x|| where the attack fooled the network, else NaN; of a minimum-norm attack
        that of its point before it is clipped to the ball.
    cost: COST, summed so far.
    parts: names of the attacks of a sequence; their cost, (parts, COST).
    felled_by: int8 (images,), which part fooled the image, -1 none.
    queries: int32 (images,), the attack's forward passes of that image, the verification's not among them; of Square, how many
        it took to fool it or all there were. 0 where it was not attacked, -1 not known.
    """

    index: np.ndarray
    correct: np.ndarray
    distance: np.ndarray
    cost: np.ndarray = field(default_factory=lambda: np.zeros(len(COST)))
    parts: tuple[str, ...] = ()
    part_cost: np.ndarray = field(default_factory=lambda: np.zeros((0, len(COST))))
    felled_by: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))
    queries: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.index):
            self.queries = np.full(len(self.index), -1, np.int32)

    @classmethod
    def unknown(cls, index: np.ndarray, parts: Sequence[str] = ()) -> "Outcome":
        """Nothing evaluated yet of these images."""
        count, names = len(index), tuple(name for name in parts if name)
        return cls(
            index,
            np.full(count, UNKNOWN, np.int8),
            np.full(count, np.nan, np.float32),
            np.zeros(len(COST)),
            names,
            np.zeros((len(names), len(COST))),
            np.full(count if names else 0, -1, np.int8),
        )

    @property
    def complete(self) -> bool:
        """Whether every image has been evaluated."""
        return bool((self.correct != UNKNOWN).all())

    def add(self, part: int | None = None, **costs: float) -> None:
        """Count what was spent, for the whole and for a part."""
        for name, value in costs.items():
            self.cost[COST.index(name)] += value
            if part is not None and len(self.part_cost):
                self.part_cost[part, COST.index(name)] += value

    def lost_to(self) -> dict[str, int]:
        """How many images each part of a sequence fooled."""
        return {name: int((self.felled_by == k).sum()) for k, name in enumerate(self.parts)}


def result(name: str, outcome: Outcome, settings: str, note: str = "") -> AttackResult:
    """The column that an outcome amounts to."""
    total = len(outcome.correct)
    correct = int((outcome.correct == RIGHT).sum())
    low, high = wilson(correct, total)
    far = outcome.distance[~np.isnan(outcome.distance)]
    cost = dict(zip(COST, outcome.cost.tolist(), strict=True))
    lost = outcome.lost_to()
    asked = outcome.queries[outcome.queries > 0] if (outcome.queries >= 0).all() else outcome.queries[:0]
    return AttackResult(
        name=name,
        correct=correct,
        total=total,
        low=low,
        high=high,
        mean_distance=float(far.mean()) if len(far) else None,
        median_distance=float(np.median(far)) if len(far) else None,
        forwards=int(cost["forwards"]),
        seconds=cost["seconds"],
        flags=doubts(cost),
        settings=settings,
        note="; ".join(part for part in (note, _counts(cost)) if part),
        attacked=int(cost["attacked"]),
        copied=int(cost["copied"]),
        queries=int(cost["queries"]),
        mean_queries=float(asked.mean()) if len(asked) else None,
        median_queries=float(np.median(asked)) if len(asked) else None,
        parts=tuple(
            PartResult(part, int(spent[3]), lost[part], int(spent[1]), float(spent[2]))
            for part, spent in zip(outcome.parts, outcome.part_cost, strict=True)
        ),
    )


def doubts(cost: Mapping[str, float]) -> tuple[str, ...]:
    """The flags of the verification.

    `outside_ball`: raised if an attack returned a point with ||delta|| > eps + 1e-6, outside [0, 1] or with NaN.
    `batch_dependent`: raised if over 0.1 % of the attacked images (and more than one) change their verdict with the batch
    size. A point right on the boundary may do so by rounding; many can't.
    """
    flags = []
    if cost["invalid"]:
        flags.append("outside_ball")
    if cost["unstable"] > 1 and cost["unstable"] > 0.001 * cost["attacked"]:
        flags.append("batch_dependent")
    return tuple(flags)


def _counts(cost: Mapping[str, float]) -> str:
    said = []
    if cost["invalid"]:
        said.append(f"{cost['invalid']:.0f} points were not allowed and not counted")
    if cost["unstable"]:
        said.append(f"{cost['unstable']:.0f} verdicts changed with the batch size and count as fooled")
    if cost["searched"]:
        said.append(f"{cost['searched']:.0f} images fooled in the search alone were attacked again in fp32")
    return "; ".join(said)


def wilson(correct: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval of a proportion: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n); 95 % by default."""
    p = correct / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    # Exactly 0 and 1 at the ends, where rounding leaves a trace.
    return max(0.0, centre - half) if correct else 0.0, min(1.0, centre + half) if correct < total else 1.0


def worst_case(outcomes: Sequence[Outcome]) -> Outcome:
    """The worst case per image: right only where every attack leaves it right; the distance of the nearest fooling point.

    All outcomes are complete and of the same images.
    """
    first = outcomes[0]
    correct = np.min([outcome.correct for outcome in outcomes], axis=0)
    distance = np.fmin.reduce([outcome.distance for outcome in outcomes])
    distance = np.where(correct == RIGHT, np.float32(np.nan), distance)
    cost = np.sum([outcome.cost for outcome in outcomes], axis=0)
    for once in ("attacked", "copied"):
        cost[COST.index(once)] = max(outcome.cost[COST.index(once)] for outcome in outcomes)
    queries = reduce(added, [outcome.queries for outcome in outcomes])
    return Outcome(first.index, correct, distance, cost, queries=queries)


def added(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Queries of each image taken together: not known where one of them isn't."""
    return np.where((first < 0) | (second < 0), -1, first + second).astype(np.int32)


def save_outcomes(outcomes: Mapping[str, Outcome], settings: Mapping[str, str], file: Any) -> None:
    """All outcomes as one .npz: for each "checkpoint/column" its arrays, what it cost, and the digest of its settings."""
    arrays: dict[str, np.ndarray] = {}
    for key, outcome in outcomes.items():
        arrays[f"{key}/index"] = outcome.index
        arrays[f"{key}/correct"] = outcome.correct
        arrays[f"{key}/distance"] = outcome.distance
        arrays[f"{key}/queries"] = outcome.queries
        arrays[f"{key}/cost"] = outcome.cost
        arrays[f"{key}/settings"] = np.array(settings[key])
        if outcome.parts:
            arrays[f"{key}/parts"] = np.array(outcome.parts)
            arrays[f"{key}/part_cost"] = outcome.part_cost
            arrays[f"{key}/felled_by"] = outcome.felled_by
    np.savez_compressed(file, allow_pickle=False, **arrays)


def load_verdicts(file: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each "checkpoint/column" the images' indices and whether each kept its label: a part of `load_outcomes`, sooner read."""
    with np.load(file, allow_pickle=False) as arrays:
        keys = [name.removesuffix("/correct") for name in arrays.files if name.endswith("/correct")]
        return {key: (arrays[f"{key}/index"], arrays[f"{key}/correct"]) for key in keys}


def load_outcomes(file: Any) -> tuple[dict[str, Outcome], dict[str, str]]:
    """What `save_outcomes` wrote. Nothing in the file can run code. A column of an older form is left out: it is run again."""
    outcomes, settings = {}, {}
    with np.load(file, allow_pickle=False) as arrays:
        for name in arrays.files:
            key, _, part = name.rpartition("/")
            if part != "correct" or arrays[f"{key}/cost"].shape not in ((FEWEST,), (len(COST),)):
                continue
            outcome = Outcome(*(arrays[f"{key}/{n}"] for n in ("index", "correct", "distance")))
            outcome.cost = _whole(arrays[f"{key}/cost"])
            if f"{key}/queries" in arrays.files:
                outcome.queries = arrays[f"{key}/queries"]
            if f"{key}/parts" in arrays.files:
                outcome.parts = tuple(str(part) for part in arrays[f"{key}/parts"])
                outcome.part_cost = _whole(arrays[f"{key}/part_cost"])
                outcome.felled_by = arrays[f"{key}/felled_by"]
            outcomes[key], settings[key] = outcome, str(arrays[f"{key}/settings"])
    return outcomes, settings


def _whole(cost: np.ndarray) -> np.ndarray:
    """A cost, zero where its file did not count it yet."""
    whole = np.zeros((*cost.shape[:-1], len(COST)))
    whole[..., : cost.shape[-1]] = cost
    return whole
