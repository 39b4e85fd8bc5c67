"""Weights on disk: the same bytes for the same weights, and a file from a stranger is data or an error."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from advarch.errors import InputError
from advarch.runs import weights


def network(width: int = 4, *, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 4, 3)
        )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_weights_are_the_same_bytes_whatever_their_order_and_layout(tmp_path: Path) -> None:
    state = network(8).state_dict()
    weights.save(state, tmp_path / "a")
    weights.save(dict(reversed(state.items())), tmp_path / "b")
    weights.save(
        {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in state.items()}, tmp_path / "c"
    )
    strided = network(8).to(memory_format=torch.channels_last).state_dict()
    weights.save(strided, tmp_path / "d")
    assert len({digest(tmp_path / name) for name in "abcd"}) == 1
    weights.save(network(8, seed=1).state_dict(), tmp_path / "e")
    assert digest(tmp_path / "e") != digest(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == list("abcde")


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    first, second = network(), network(seed=1)
    first[1].running_mean.fill_(0.25)
    weights.save(first.state_dict(), tmp_path / "w")
    weights.load_into(second, tmp_path / "w")
    mine, theirs = second.state_dict(), first.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs) and set(mine) == set(theirs)


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="came nothing; train the run first"):
        weights.load_into(network(), tmp_path / "none.safetensors")


@pytest.mark.parametrize("case", ["other shapes", "one missing", "one too many", "other names"])
def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    state = network().state_dict()
    if case == "other shapes":
        state = network(5).state_dict()
    elif case == "one missing":
        del state["3.bias"]
    elif case == "one too many":
        state["4.bias"] = torch.zeros(3)
    else:
        state = {f"model.{name}": value for name, value in state.items()}
    path = tmp_path / "w.safetensors"
    weights.save(state, path)
    with pytest.raises(InputError, match="expected weights of this network") as raised:
        weights.load_into(network(), path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100, pickle.dumps({"a": 1})])
def test_what_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected weights of this network"):
        weights.load_into(network(), path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError):
        weights.load_into(network(), path)


def test_a_checkpoint_s_network_is_found_under_its_prefix_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    state = {"model.0.weight": torch.ones(2), "model.model.b": torch.zeros(1), "other.weight": torch.ones(3)}
    torch.save({"state_dict": state, "epoch": 3}, path)
    found = weights.from_checkpoint(path)
    assert set(found) == {"0.weight", "model.b"} and torch.equal(found["0.weight"], torch.ones(2))


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["pickle", "torch", "inside state_dict"])
def test_a_pickle_named_last_ckpt_does_not_run(tmp_path: Path, how: str) -> None:
    path, made = tmp_path / "last.ckpt", tmp_path / "made"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Trap(made), protocol=2))
    elif how == "torch":
        torch.save(Trap(made), path)
    else:
        torch.save({"state_dict": {"model.w": torch.ones(1), "x": Trap(made)}}, path)
    with pytest.raises(InputError, match=r"expected a checkpoint of advarch in .*last\.ckpt"):
        weights.from_checkpoint(path)
    assert not made.exists(), "the file ran code"
    if how != "pickle":
        torch.load(path, weights_only=False)
        assert made.exists(), "the trap does not work"


@pytest.mark.parametrize("content", ["empty", "cut", "no state", "a list"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "last.ckpt"
    if content == "empty":
        path.write_bytes(b"")
    elif content == "cut":
        torch.save({"state_dict": {"model.w": torch.ones(1000)}}, path)
        path.write_bytes(path.read_bytes()[:2000])
        assert not zipfile.is_zipfile(path)
    else:
        torch.save({"epoch": 1} if content == "no state" else [1], path)
    with pytest.raises(InputError, match="expected a checkpoint of advarch"):
        weights.from_checkpoint(path)


def test_a_save_that_fails_leaves_the_old_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    weights.save(network().state_dict(), path)
    before = path.read_bytes()

    def fails(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space"):
        weights.save(network(seed=1).state_dict(), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (Path("/"), "it holds a pathlib"),
        ({"loops": 1}, "it is no file of weights"),
        (torch.ones(2), "IndexError"),
        ({"state_dict": torch.ones(2)}, "AttributeError"),
        ({"state_dict": {"a": 1}, "kept": 3}, "TypeError"),
    ],
    ids=["an object", "no weights", "a tensor", "a tensor for weights", "a number for a name"],
)
def test_a_checkpoint_that_holds_something_else_is_refused_in_one_line(
    tmp_path: Path, content: object, why: str
) -> None:
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(InputError) as raised:
        weights.from_checkpoint(tmp_path / "best.ckpt")
    assert why in str(raised.value)
    assert (
        "\n" not in str(raised.value)
        and "\x1b" not in str(raised.value)
        and "torch.load" not in str(raised.value)
    )
