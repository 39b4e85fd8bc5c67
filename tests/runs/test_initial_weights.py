"""Weights that training starts from: the digest is of the file's content, and another file than the described one is refused."""

import shutil
from pathlib import Path

import pytest
import torch

from advarch.errors import InputError
from advarch.runs.config import experiment_digest
from advarch.runs.initial_weights import initial_file, with_initial_weights
from advarch.runs.weights import save


def config(file: object) -> dict:
    return with_initial_weights({"seed": 0, "initial_weights": str(file)})


def test_the_digest_follows_the_content_and_not_the_path(tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    save({"w": torch.ones(2)}, one)
    shutil.copy(one, two)
    first = config(one)
    assert experiment_digest(config(two)) == experiment_digest(first) != experiment_digest({"seed": 0})
    assert with_initial_weights(first) == first and initial_file(first) == one
    save({"w": torch.zeros(2)}, two)
    assert experiment_digest(config(two)) != experiment_digest(first)


def test_without_a_file_nothing_changes() -> None:
    plain = {"seed": 0, "initial_weights": None}
    assert with_initial_weights(plain) == plain and initial_file(plain) is None
    assert initial_file({"seed": 0}) is None, "runs of before the key"
    assert experiment_digest(plain) == experiment_digest({"seed": 0})


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save({"w": torch.ones(2)}, file)
    described = config(file)
    save({"w": torch.zeros(2)}, file)
    with pytest.raises(InputError, match=r"as it was when the run was described, came another"):
        initial_file(described)


@pytest.mark.parametrize("given", ["nowhere.pt", "."])
def test_a_file_that_is_not_there_is_named(given: str) -> None:
    with pytest.raises(
        InputError, match=rf"^initial_weights: expected a .* file, came {given}, which is not there"
    ):
        config(given)
