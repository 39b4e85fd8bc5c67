"""Which images train, which validate, which search: index arrays that depend on the labels and a seed only.

Everything here is stratified: each class gets its share of a part to within one image. The order comes from
the raw 64-bit stream of NumPy's PCG64, which NumPy promises never to change, so a split is the same on every
machine and in every version.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from advarch.errors import InputError
from advarch.noise import derive_seed

LIMIT_SEED = 0
"""Smoke runs look at the same few images whatever the seed of the experiment."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Indices into the training part: sorted int64, disjoint. `digest` names both index arrays."""

    train: np.ndarray
    val: np.ndarray
    digest: str


@dataclass(frozen=True, eq=False)
class Halves:
    """Indices into the training part for a search: one half trains weights, the other the architecture."""

    weights: np.ndarray
    arch: np.ndarray
    digest: str


def split(
    y: np.ndarray,
    *,
    val_fraction: float,
    seed: int,
    limit: int | None = None,
    pseudo: np.ndarray | None = None,
) -> Splits:
    """Carve a validation part from the training set.

    Args:
        y: labels of the training part, int64 (n,). The test set is not an argument: it is never split.
        val_fraction: share of the labelled training images that validate, in [0, 1); 0 leaves no validation
            part.
        seed: of the choice.
        limit: take only this many images, a stratified choice that does not depend on `seed`.
        pseudo: bool (n,), images whose label was guessed; they train and never validate.

    Raises:
        InputError: the fraction is out of range or leaves a part empty.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise InputError(f"expected dataset.val_fraction in [0, 1), came {val_fraction}; 0.1 means a tenth")
    guessed = np.zeros(len(y), dtype=bool) if pseudo is None else pseudo
    pool = subset(2 * y + guessed, limit=limit)
    labelled = pool[~guessed[pool]]
    count = round(val_fraction * len(labelled))
    if val_fraction > 0 and not 0 < count < len(labelled):
        raise InputError(
            f"expected both a training and a validation image among {len(labelled)} labelled images, came "
            f"dataset.val_fraction={val_fraction}; change it or raise dataset.limit"
        )
    val = labelled[stratified(y[labelled], count=count, seed=derive_seed("validation", seed))]
    train = np.setdiff1d(pool, val, assume_unique=True)
    return Splits(train=train, val=val, digest=digest(train=train, val=val))


def halves(indices: np.ndarray, y: np.ndarray, *, seed: int) -> Halves:
    """Two disjoint halves of `indices`, equal to within one image: weights and architecture (RACL, NADAR).

    Args:
        indices: into the training part, int64.
        y: labels of the whole training part, int64 (n,).
        seed: of the choice.
    """
    if len(indices) < 2:
        raise InputError(f"expected at least 2 images to search on, came {len(indices)}; raise dataset.limit")
    chosen = stratified(y[indices], count=len(indices) // 2, seed=derive_seed("halves", seed))
    mask = np.zeros(len(indices), dtype=bool)
    mask[chosen] = True
    arch, weights = np.sort(indices[mask]), np.sort(indices[~mask])
    return Halves(weights=weights, arch=arch, digest=digest(weights=weights, arch=arch))


def subset(y: np.ndarray, *, limit: int | None) -> np.ndarray:
    """Indices of `limit` images, each class in its share, always the same ones; without a limit all."""
    if limit is None or limit >= len(y):
        return np.arange(len(y), dtype=np.int64)
    if limit < 1:
        raise InputError(
            f"expected a limit of at least 1 image, came {limit}; leave it out to take all of them"
        )
    return stratified(y, count=limit, seed=derive_seed("limit", LIMIT_SEED))


def stratified(y: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Choose `count` positions of `y`, each class in proportion to its size (largest remainder): sorted.

    Args:
        y: labels, int (n,).
        count: how many positions, 0 to n.
        seed: of the choice, 64 bits.
    """
    if not 0 <= count <= len(y):
        raise InputError(f"expected a choice of 0 to {len(y)} images, came {count}; choose fewer")
    _, group, sizes = np.unique(y, return_inverse=True, return_counts=True)
    # Whole numbers throughout: a remainder compared as a float could tip over on another machine.
    quota, remainder = np.divmod(count * sizes, len(y)) if len(y) else (sizes, sizes)
    missing = count - int(quota.sum())
    quota[np.argsort(-remainder, kind="stable")[:missing]] += 1
    by_class = np.lexsort((np.random.PCG64(seed).random_raw(len(y)), group))
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(y)) - np.repeat(starts, sizes)
    return np.sort(by_class[rank < np.repeat(quota, sizes)]).astype(np.int64)


def digest(**parts: np.ndarray) -> str:
    """A name of 16 hexadecimal digits for named index arrays."""
    sha = hashlib.sha256()
    for name, indices in sorted(parts.items()):
        sha.update(f"{name}:{len(indices)}:".encode())
        sha.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return sha.hexdigest()[:16]
