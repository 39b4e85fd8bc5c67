"""Splits: disjoint, stratified, stable, and never of the test set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advarch.datasets.splits import digest, halves, split, stratified, subset
from advarch.errors import InputError

LABELS = np.arange(1000, dtype=np.int64) % 10


@given(
    y=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_stratified_choice_has_each_class_to_within_one(y, share, seed):
    labels = np.array(y, dtype=np.int64)
    count = int(share * len(labels))
    chosen = stratified(labels, count=count, seed=seed)
    assert len(chosen) == count
    assert (np.diff(chosen) > 0).all()
    sizes = np.bincount(labels, minlength=5)
    taken = np.bincount(labels[chosen], minlength=5)
    assert (np.abs(taken - count * sizes / len(labels)) < 1).all()


def test_every_image_of_a_class_is_equally_likely():
    y = np.zeros(10, dtype=np.int64)
    taken = np.bincount(
        np.concatenate([stratified(y, count=3, seed=seed) for seed in range(3000)]), minlength=10
    )
    # Expected 900 each, standard deviation sqrt(3000 x 0.3 x 0.7) = 25.1; five of them.
    assert np.abs(taken - 900).max() < 126


@given(seed=st.integers(0, 1000), fraction=st.floats(0.01, 0.9), limit=st.none() | st.integers(120, 2000))
def test_split_parts_are_disjoint_and_make_up_the_pool(seed, fraction, limit):
    parts = split(LABELS, val_fraction=fraction, seed=seed, limit=limit)
    pool = subset(LABELS, limit=limit)
    assert len(pool) == min(limit or 1000, 1000)
    assert np.array_equal(np.sort(np.concatenate([parts.train, parts.val])), pool)
    assert len(parts.val) == round(fraction * len(pool))
    assert np.ptp(np.bincount(LABELS[parts.val], minlength=10)) <= 1


def test_split_is_a_function_of_its_seed():
    assert split(LABELS, val_fraction=0.1, seed=0).digest == GOLDEN_SPLIT
    assert split(LABELS, val_fraction=0.1, seed=0).digest == GOLDEN_SPLIT
    assert split(LABELS, val_fraction=0.1, seed=1).digest != GOLDEN_SPLIT


def test_the_limited_pool_does_not_depend_on_the_seed():
    one, two = (split(LABELS, val_fraction=0.1, seed=seed, limit=100) for seed in (0, 1))
    assert set(one.train) | set(one.val) == set(two.train) | set(two.val)
    assert set(one.val) != set(two.val)


def test_guessed_labels_never_validate():
    pseudo = np.arange(1000) >= 200
    parts = split(LABELS, val_fraction=0.5, seed=0, pseudo=pseudo)
    assert not pseudo[parts.val].any()
    assert len(parts.val) == 100  # half of the labelled
    assert len(parts.train) == 900
    limited = split(LABELS, val_fraction=0.5, seed=0, pseudo=pseudo, limit=100)
    assert pseudo[limited.train].sum() == 80  # the limit keeps the share of guessed labels
    assert len(limited.val) == 10


def test_no_validation_part_on_request():
    parts = split(LABELS, val_fraction=0.0, seed=0)
    assert len(parts.val) == 0
    assert np.array_equal(parts.train, np.arange(1000))


@given(
    y=st.lists(st.integers(0, 3), min_size=2, max_size=50), seed=st.integers(0, 100), shift=st.integers(0, 50)
)
def test_halves_are_disjoint_equal_and_stratified(y, seed, shift):
    labels = np.concatenate([np.zeros(shift, dtype=np.int64), np.array(y, dtype=np.int64)])
    indices = np.arange(shift, len(labels), dtype=np.int64)
    parts = halves(indices, labels, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([parts.weights, parts.arch])), indices)
    assert 0 <= len(parts.weights) - len(parts.arch) <= 1
    difference = np.bincount(labels[parts.weights], minlength=4) - np.bincount(
        labels[parts.arch], minlength=4
    )
    assert np.abs(difference).max() <= 1
    assert parts.digest == digest(weights=parts.weights, arch=parts.arch)


def test_a_digest_tells_order_name_and_number_apart():
    a, b = np.array([1, 2]), np.array([3])
    names = {
        digest(train=a, val=b),
        digest(train=b, val=a),
        digest(train=np.array([1]), val=np.array([2, 3])),
        digest(train=np.array([2, 1]), val=b),
    }
    assert len(names) == 4
    assert digest(val=b, train=a.astype(np.int32)) == digest(train=a, val=b)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, 0.00001, 0.99999])
def test_split_refuses_a_fraction_that_leaves_a_part_empty(fraction):
    with pytest.raises(InputError, match=r"dataset\.val_fraction"):
        split(LABELS, val_fraction=fraction, seed=0)


def test_refusals():
    with pytest.raises(InputError, match="at least 2 images"):
        halves(np.array([3]), LABELS, seed=0)
    with pytest.raises(InputError, match="at least 1 image"):
        subset(LABELS, limit=0)
    with pytest.raises(InputError, match="0 to 1000"):
        stratified(LABELS, count=1001, seed=0)


GOLDEN_SPLIT = "0ad44b4e61172400"
