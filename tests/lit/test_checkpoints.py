"""Checkpoints that are damaged, hostile, or find no room on the disk."""

import errno
import io
import pickle
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from advarch.defenses.pgd_at import pgd_at
from advarch.errors import InputError
from advarch.lit.checkpoints import damage, to_resume
from tests.lit.ranks_driver import train


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(folder, pgd_at, epochs=2)
    return folder / "checkpoints"


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    for path in trained.iterdir():
        (tmp_path / "checkpoints" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "checkpoints"


def epoch_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["epoch"])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit of a weight, which torch itself would read."""
    data = bytearray(path.read_bytes())
    weight = torch.load(path, weights_only=True)["state_dict"]["model.3.weight"].numpy().tobytes()
    data[data.index(weight) + 2] ^= 1
    path.write_bytes(data)
    torch.load(path, weights_only=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nonsense(path: Path) -> None:
    path.write_bytes(b"\x00" * 5000)


def other(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


DAMAGES = [cut, flip, empty, nonsense, other]


def test_both_are_kept_and_the_last_is_taken(folder: Path) -> None:
    assert (epoch_of(folder / "previous.ckpt"), epoch_of(folder / "last.ckpt")) == (0, 1)
    said: list[str] = []
    assert to_resume(folder, said.append) == folder / "last.ckpt" and not said
    assert to_resume(folder / "nothing", said.append) is None and not said


@pytest.mark.parametrize("wound", DAMAGES, ids=lambda f: f.__name__)
def test_the_one_before_takes_the_place_of_a_damaged_one_and_it_is_said(
    folder: Path, wound: Callable[[Path], None]
) -> None:
    wound(folder / "last.ckpt")
    said: list[str] = []
    assert to_resume(folder, said.append) == folder / "previous.ckpt"
    assert len(said) == 1 and "last.ckpt can't be used" in said[0] and "previous.ckpt" in said[0]


def test_without_a_good_one_nothing_begins_silently_anew(folder: Path) -> None:
    cut(folder / "last.ckpt")
    flip(folder / "previous.ckpt")
    with pytest.raises(InputError, match="no good one before it; delete the folder checkpoints"):
        to_resume(folder, print)


def test_killed_between_the_two_names_the_one_before_is_taken(folder: Path) -> None:
    (folder / "last.ckpt").unlink()
    assert to_resume(folder, print) == folder / "previous.ckpt"


def hostile(kind: str, mark: Path) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        torch.save({"state_dict": Evil(mark), "loops": {}}, buffer)
    elif kind == "legacy":
        torch.save({"state_dict": Evil(mark), "loops": {}}, buffer, _use_new_zipfile_serialization=False)
    else:
        pickle.dump(Evil(mark), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
def test_a_stranger_s_checkpoint_runs_no_code(folder: Path, tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "ran"
    (folder / "last.ckpt").write_bytes(hostile(kind, mark))
    assert damage(folder / "last.ckpt")
    assert to_resume(folder, lambda line: None) == folder / "previous.ckpt"
    (folder / "previous.ckpt").write_bytes(hostile(kind, mark))
    with pytest.raises(InputError):
        to_resume(folder, print)
    with pytest.raises(Exception, match=r"weights.only|can't be read|Weights only|invalid"):
        train(tmp_path, pgd_at, epochs=3, resume=True)
    assert not mark.exists()
    pickle.loads(hostile("bare", mark))
    assert mark.exists(), "the file is as hostile as it claims"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_damages_nothing(folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError) as raised:
            train(tmp_path, pgd_at, epochs=3, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert raised.value.errno == errno.EFBIG
    assert contents(folder) == before
    rows = train(tmp_path, pgd_at, epochs=3, resume=True)["rows"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
