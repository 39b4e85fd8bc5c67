"""Batches of half labelled, half pseudo-labelled images (RST): exact shares, the length of an epoch, resuming, sharing."""

import math
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from advarch.datasets import embedded, local
from advarch.datasets.images import Part
from advarch.datasets.load import load
from advarch.datasets.loaders import DeviceLoader
from advarch.errors import InputError
from tests.datasets.test_local_datasets import NOT_OFFICIAL, write_cifar10

LABELLED, GUESSED = 30, 100
PSEUDO = np.random.Generator(np.random.PCG64(1)).permutation(np.arange(LABELLED + GUESSED) >= LABELLED)


def loader(**changes) -> DeviceLoader:
    count = len(PSEUDO)
    x = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    part = Part(x=x, y=np.arange(count, dtype=np.int64) % 3, pseudo=PSEUDO)
    settings = {
        "part": part,
        "indices": np.arange(count),
        "batch_size": 8,
        "device": "cpu",
        "shuffle": True,
        "drop_last": True,
        "crop_pad": 1,
        "flip": True,
        "seed": 7,
        "pseudo_share": 0.5,
    }
    return DeviceLoader(**settings | changes)


def indices(batches) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


@pytest.mark.parametrize(("share", "guessed"), [(0.5, 4), (0.25, 2), (0.75, 6)])
def test_each_batch_holds_exactly_its_share(share: float, guessed: int) -> None:
    for epoch in range(3):
        batches = loader(pseudo_share=share)
        batches.set_epoch(epoch)
        assert [sum(PSEUDO[batch]) for batch in indices(batches)] == [guessed] * 4


def test_an_epoch_is_as_long_as_the_labelled_images_alone_would_make_it() -> None:
    assert len(loader()) == math.ceil(LABELLED / 8) == len(list(loader()))
    assert len(loader(batch_size=10)) == 3 and len(loader(batch_size=60, pseudo_share=0.5)) == 1


def test_no_image_comes_twice_before_each_of_its_kind_came_once() -> None:
    seen = Counter(index for batch in indices(loader()) for index in batch)
    assert set(seen.values()) == {1} and len(seen) == 32
    few = indices(loader(indices=np.concatenate([np.flatnonzero(~PSEUDO), np.flatnonzero(PSEUDO)[:6]])))
    counts = Counter(index for batch in few for index in batch if PSEUDO[index])
    assert len(counts) == 6 and set(counts.values()) <= {2, 3} and sum(counts.values()) == 16


def test_every_image_has_its_turn_over_the_epochs() -> None:
    batches, seen = loader(), set[int]()
    for epoch in range(40):
        batches.set_epoch(epoch)
        seen |= {index for batch in indices(batches) for index in batch}
    assert seen == set(range(len(PSEUDO)))


def test_batches_are_a_function_of_seed_and_epoch_and_go_on_where_they_stopped() -> None:
    batches, again = loader(), loader()
    whole = list(batches)
    again.start_batch = 2
    for found, expected in zip(again, whole[2:], strict=True):
        assert torch.equal(found.x, expected.x) and torch.equal(found.index, expected.index)
    assert indices(loader(seed=8)) != indices(whole)
    again.set_epoch(1)
    assert indices(again) != indices(whole)


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_a_batch_and_each_has_the_same_mixture(world_size: int) -> None:
    whole = indices(loader())
    shares = [indices(loader(rank=rank, world_size=world_size)) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert sorted(index for part in parts for index in part) == sorted(batch)
        assert {sum(PSEUDO[part]) for part in parts} == {4 // world_size}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"indices": np.flatnonzero(PSEUDO)}, "came 0 and 100"),
        ({"indices": np.flatnonzero(~PSEUDO)}, "came 30 and 0"),
        ({"pseudo_share": 0.01}, "came 8 labelled and 0 pseudo-labelled"),
        ({"world_size": 8}, "each of 8 processes"),
    ],
)
def test_what_can_t_be_mixed_is_refused(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        loader(**changes)


def settings(root: Path) -> dict:
    keys = {"root": str(root), "val_fraction": 0.1, "seed": 0, "crop_pad": 4, "flip": True, "batch_size": 8}
    return {"source": local.cifar10_500k, "eps": 8 / 255, **keys}


@NOT_OFFICIAL
def test_the_500k_s_file_makes_half_of_each_batch(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    extra = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    content = {"data": extra, "extrapolated_targets": np.arange(40) % 10}
    (tmp_path / local.PSEUDO_LABELED).write_bytes(pickle.dumps(content, protocol=2))
    data = load(**settings(tmp_path), pseudo_share=0.5)
    batches = list(data.train_loader("cpu"))
    assert len(batches) == 3 and data.train_part.pseudo is not None
    assert [int(data.train_part.pseudo[batch.index].sum()) for batch in batches] == [4, 4, 4]
    assert not data.train_part.pseudo[data.splits.val].any() and len(data.splits.val) == 2
    alike = load(**settings(tmp_path)).train_loader("cpu")
    assert len(alike) == 58 // 8
    with pytest.raises(InputError, match=r"no dataset\.pseudo_share with cifar10, .* came 0\.5"):
        load(**settings(tmp_path) | {"source": local.cifar10}, pseudo_share=0.5)


def test_mnist5k_guessed_has_a_quarter_of_its_labels_and_guesses_the_others_by_their_neighbour() -> None:
    whole, data = embedded.mnist5k().train, embedded.mnist5k_guessed().train
    known = np.flatnonzero(~data.pseudo)
    assert np.array_equal(data.x, whole.x) and np.bincount(whole.y[known]).tolist() == [100] * 10
    assert np.array_equal(data.y[known], whole.y[known])
    x = data.x.reshape(len(data.y), -1).astype(np.int64)
    for i in np.flatnonzero(data.pseudo)[::150]:
        assert data.y[i] == whole.y[known][np.square(x[known] - x[i]).sum(1).argmin()]
    right = (data.y == whole.y)[data.pseudo]
    assert len(right) == 3000 and 0.8 < right.mean() < 1.0


def test_half_of_mnist5k_guessed_s_batches_are_guesses() -> None:
    settings = {"val_fraction": 0.1, "seed": 0, "crop_pad": 0, "flip": False, "batch_size": 128, "eps": 0.3}
    data = load(source=embedded.mnist5k_guessed, pseudo_share=0.5, **settings)
    batches = list(data.train_loader("cpu"))
    assert len(batches) == math.ceil(900 / 128) and len(data.splits.val) == 100
    assert all(int(data.train_part.pseudo[batch.index].sum()) == 64 for batch in batches)
