"""Your own pictures: every mode and layout, damaged files, and a cache that is right or absent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advarch.datasets import cache, decode, progress
from advarch.datasets.folders import image_folder
from advarch.errors import InputError


def paint(path: Path, value: int = 0, size: tuple[int, int] = (6, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 255 - value, value)).save(path)
    return path


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two classes with 5 and 10 pictures in one tree; the red byte of a picture names it."""
    for number in range(15):
        paint(tmp_path / "pictures" / ("cat" if number < 5 else "dog") / f"{number:02}.png", number)
    return tmp_path / "pictures"


@pytest.fixture
def parts(tmp_path) -> Path:
    for part, first in (("train", 0), ("test", 100)):
        for number in range(4):
            paint(tmp_path / "pictures" / part / "ab"[number % 2] / f"{number}.png", first + number)
    return tmp_path / "pictures"


def names(part) -> list[int]:
    return part.x[:, 0, 0, 0].tolist()


def test_train_and_test_folders(parts):
    data = image_folder(root=str(parts), image_size=6)
    assert data.classes == ("a", "b")
    assert (names(data.train), data.train.y.tolist()) == ([0, 2, 1, 3], [0, 0, 1, 1])
    assert (names(data.test), data.test.y.tolist()) == ([100, 102, 101, 103], [0, 0, 1, 1])
    assert isinstance(data.train.x, np.memmap)
    assert data.train.x[1].tolist() == [[[value] * 6] * 6 for value in (2, 253, 2)]


def test_one_tree_is_split_stratified_by_its_own_seed(tree):
    data = image_folder(root=str(tree), image_size=6, test_fraction=0.4)
    assert np.bincount(data.test.y).tolist() == [2, 4]
    assert sorted(names(data.train) + names(data.test)) == list(range(15))
    assert (np.array(names(data.test)) >= 5).tolist() == data.test.y.astype(bool).tolist()
    assert names(image_folder(root=str(tree), image_size=6, test_fraction=0.4).test) == names(data.test)
    other = image_folder(root=str(tree), image_size=6, test_fraction=0.4, split_seed=1)
    assert names(other.test) != names(data.test)


def test_hidden_and_other_files_are_ignored_and_subfolders_belong_to_their_class(parts):
    (parts / "train" / "a" / "notes.txt").write_text("no picture")
    (parts / "train" / ".DS_Store").write_text("")
    paint(parts / "train" / "a" / ".hidden.png", 9)
    paint(parts / "train" / ".trash" / "x.png", 9)
    paint(parts / "train" / "a" / "more" / "deep.PNG", 50)
    assert names(image_folder(root=str(parts), image_size=6).train) == [0, 2, 50, 1, 3]


def decoded(path: Path, size: int = 2) -> np.ndarray:
    (outcome,) = decode.decode_files([str(path)], size)
    assert isinstance(outcome, np.ndarray), outcome
    assert outcome.shape == (3, size, size)
    assert outcome.dtype == np.uint8
    return outcome


def test_modes_of_pictures(tmp_path):
    path = tmp_path / "x.png"
    grey = np.array([[0, 85], [170, 255]], dtype=np.uint8)
    Image.fromarray(grey).save(path)
    assert (decoded(path) == grey).all()
    Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    assert (decoded(path) == grey).all(), "16 bits are scaled, not clipped"
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "x.tif")
    assert (decoded(tmp_path / "x.tif") == grey).all()
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.save(path)
    assert decoded(path)[:, 0].tolist() == [[10, 200], [20, 100], [30, 0]]
    palette.save(path, transparency=1)
    assert decoded(path)[:, 0].tolist() == [[10, 255], [20, 255], [30, 255]]
    Image.fromarray(np.array([[[9, 8, 7, 255], [9, 8, 7, 0]]] * 2, dtype=np.uint8)).save(path)
    assert decoded(path)[:, 0].tolist() == [[9, 255], [8, 255], [7, 255]]
    Image.fromarray(grey > 100).save(path)
    assert decoded(path)[0].tolist() == [[0, 0], [255, 255]]
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "x.jpg")
    assert decoded(tmp_path / "x.jpg")[:, 0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_a_picture_is_turned_as_exif_says(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the upper left corner moves to the upper right
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(decoded(tmp_path / "turned.png", 4)[0], np.rot90(pixels[..., 0], -1))
    plain = decode.open_rgb(tmp_path / "turned.png", upright=False)
    assert np.array_equal(np.asarray(plain), pixels)


def test_the_centre_is_cropped_and_resized_without_aliasing(tmp_path):
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 100
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (decoded(tmp_path / "wide.png", 4) == 100).all()
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    assert np.abs(decoded(tmp_path / "board.png", 8).astype(int) - 127.5).max() < 3, (
        "a plain pick would give 0 or 255"
    )
    Image.new("L", (1, 3000), 7).save(tmp_path / "thread.png")
    assert (decoded(tmp_path / "thread.png", 32) == 7).all()


def damage(root: Path) -> list[str]:
    whole = (root / "train" / "a" / "0.png").read_bytes()
    (root / "train" / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "b" / "empty.jpg").write_bytes(b"")
    (root / "test" / "a" / "text.png").write_text("no picture")
    return ["train/a/cut.png", "train/b/empty.jpg", "test/a/text.png"]


def test_damaged_files_stop_with_their_names_and_are_skipped_on_request(parts):
    bad = damage(parts)
    with pytest.raises(InputError, match=r"came 3 damaged: .*dataset\.skip_damaged=true") as caught:
        image_folder(root=str(parts), image_size=6)
    assert all(name in str(caught.value) for name in bad)
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="3 damaged pictures") as warned:
        data = image_folder(root=str(parts), image_size=6, skip_damaged=True)
    assert all(name in str(warned[0].message) for name in bad)
    assert (names(data.train), data.train.y.tolist()) == ([0, 2, 1, 3], [0, 0, 1, 1])
    assert (names(data.test), data.test.y.tolist()) == ([100, 102, 101, 103], [0, 0, 1, 1])


def test_a_message_names_the_first_damaged_files_only(parts):
    for number in range(9):
        (parts / "train" / "a" / f"bad{number}.png").write_text("no picture")
    with pytest.raises(InputError, match=r"9 damaged: .*bad4\.png \([^)]*\), \.\.\.;"):
        image_folder(root=str(parts), image_size=6)


def test_a_class_that_loses_all_its_pictures_is_named(parts):
    for path in (parts / "train" / "b").iterdir():
        path.write_text("no picture")
    with pytest.warns(UserWarning, match="2 damaged"), pytest.raises(InputError, match="came none of b"):
        image_folder(root=str(parts), image_size=6, skip_damaged=True)
    for path in (parts / "train" / "a").iterdir():
        path.write_text("no picture")
    with pytest.raises(InputError, match="all of them damaged"):
        image_folder(root=str(parts), image_size=6, skip_damaged=True)


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """Every path that is decoded."""
    seen: list[str] = []
    real = decode._decode
    monkeypatch.setattr(decode, "_decode", lambda path, size: seen.append(path) or real(path, size))
    return seen


def test_a_second_load_decodes_nothing(parts, counted):
    first = image_folder(root=str(parts), image_size=6)
    assert len(counted) == 8
    second = image_folder(root=str(parts), image_size=6)
    assert len(counted) == 8
    assert np.array_equal(first.train.x, second.train.x)
    image_folder(root=str(parts), image_size=5)
    assert len(counted) == 16
    assert not list((parts / ".advarch").glob("*.tmp"))


def test_a_changed_file_is_decoded_again(parts, counted):
    image_folder(root=str(parts), image_size=6)
    paint(parts / "train" / "a" / "0.png", 77)
    assert names(image_folder(root=str(parts), image_size=6).train) == [77, 2, 1, 3]
    assert len(counted) == 8 + 4, "the test part has not changed"
    (parts / "train" / "a" / "2.png").rename(parts / "train" / "a" / "9.png")
    image_folder(root=str(parts), image_size=6)
    assert len(counted) == 8 + 4 + 4
    status = (parts / "train" / "a" / "9.png").stat()
    os.utime(parts / "train" / "a" / "9.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    image_folder(root=str(parts), image_size=6)
    assert len(counted) == 8 + 4 + 4 + 4


@pytest.mark.parametrize("kind", ["array cut", "array gone", "notes cut", "notes gone", "wrong shape"])
def test_a_broken_cache_is_made_anew(parts, kind):
    image_folder(root=str(parts), image_size=6)
    for array in (parts / ".advarch").glob("*.npy"):
        notes = array.with_suffix(".json")
        if kind == "array cut":
            array.write_bytes(array.read_bytes()[:-1])
        elif kind == "array gone":
            array.unlink()
        elif kind == "notes cut":
            notes.write_text('{"dama')
        elif kind == "notes gone":
            notes.unlink()
        else:
            np.save(array, np.zeros((1, 3, 6, 6), dtype=np.uint8))
    assert names(image_folder(root=str(parts), image_size=6).train) == [0, 2, 1, 3]


def test_an_unwritable_root_caches_elsewhere(parts, tmp_path, monkeypatch, counted):
    (parts / ".advarch").write_text(
        "a file where the cache folder would lie: not even root can write below it"
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for _ in range(2):
        assert names(image_folder(root=str(parts), image_size=6).train) == [0, 2, 1, 3]
    assert len(counted) == 8
    assert len(list((tmp_path / "home" / "advarch").rglob("*.npy"))) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        image_folder(root=str(parts), image_size=6)


SLOW = """
import sys, time
from pathlib import Path
from advarch.datasets import cache, decode
real = decode._decode
def slow(path, size):
    time.sleep({pause})
    return real(path, size)
decode._decode = slow
root = Path(sys.argv[1])
files = []
for path in sorted((root / "train").rglob("*.png")):
    status = path.stat()
    files.append(cache.File(path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns))
print(cache.decoded(root, files, image_size=6, label="").x[:, 0, 0, 0].tolist())
"""
# It stops short of image_folder only to spare two processes the import of torch.


def start(root: Path, pause: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW.format(pause=pause), str(root)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_decoder_leaves_no_cache_and_two_at_once_agree(parts):
    killed = start(parts, 60)
    while not list((parts / ".advarch").glob(".6px*.tmp")):
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not [path for path in (parts / ".advarch").iterdir() if not path.name.startswith(".")]
    both = [start(parts, 0.05) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["[0, 2, 1, 3]"] * 2
    assert names(image_folder(root=str(parts), image_size=6).train) == [0, 2, 1, 3]


def test_a_full_disk_leaves_nothing(parts, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left.*free space"):
        image_folder(root=str(parts), image_size=6)
    assert list((parts / ".advarch").iterdir()) == []


def test_an_unreadable_file_is_no_damaged_picture(parts):
    """A disk error must not be remembered as a picture to leave out."""
    file = cache.File("train/a/none.png", 1, 1)
    with pytest.raises(InputError, match=r"No such file.*check permissions"):
        cache.decoded(parts, [file], image_size=6, label="")
    assert not list((parts / ".advarch").glob("*.npy"))


def test_worker_processes_decode_the_same(parts, monkeypatch):
    alone = image_folder(root=str(parts), image_size=6).train.x
    expected = np.array(alone)
    for path in (parts / ".advarch").iterdir():
        path.unlink()
    monkeypatch.setattr(cache, "SMALL", 1)
    monkeypatch.setattr(cache, "CHUNK", 2)
    monkeypatch.setattr(cache.os, "sched_getaffinity", lambda _: {0, 1})
    assert np.array_equal(image_folder(root=str(parts), image_size=6).train.x, expected)


def test_decoding_goes_on_when_workers_die(parts, monkeypatch):
    class Broken:
        def __init__(self, *_, **__):
            pass

        def map(self, function, chunks, sizes):
            yield function(chunks[0], sizes[0])
            raise cache.BrokenProcessPool("killed")

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(cache, "SMALL", 1)
    monkeypatch.setattr(cache, "CHUNK", 1)
    monkeypatch.setattr(cache.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(cache, "ProcessPoolExecutor", Broken)
    assert names(image_folder(root=str(parts), image_size=6).train) == [0, 2, 1, 3]


def test_a_log_gets_plain_lines_and_a_terminal_a_bar(monkeypatch, capsys):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.tracked("abcdefgh", total=8, label="decoding")) == list("abcdefgh")
    assert capsys.readouterr().err == (
        "decoding: 3 of 8, 0 a second, 15 s left\ndecoding: 5 of 8, 0 a second, 9 s left\n"
        "decoding: 7 of 8, 0 a second, 3 s left\n"
    )
    monkeypatch.undo()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress.tracked("abc", total=3, label="decoding")) == list("abc")
    assert "3/3" in capsys.readouterr().err


def test_notes_name_the_damaged(parts):
    damage(parts)
    with pytest.raises(InputError):
        image_folder(root=str(parts), image_size=6)
    notes = [json.loads(path.read_text())["damaged"] for path in (parts / ".advarch").glob("*.json")]
    assert sorted(path for each in notes for path, _ in each) == sorted(
        ["test/a/text.png", "train/a/cut.png", "train/b/empty.jpg"]
    )


def test_refusals(tmp_path, parts, tree):
    def refuse(match, **settings):
        with pytest.raises(InputError, match=match) as caught:
            image_folder(**{"root": str(parts), "image_size": 6} | settings)
        assert "\n" not in str(caught.value)

    refuse("check dataset.root", root=str(tmp_path / "none"))
    refuse("dataset.image_size of at least 1", image_size=0)
    (parts / "train" / "c").mkdir()
    refuse(r"expected pictures .*train/c, came none")
    paint(parts / "train" / "c" / "1.png")
    refuse(r"1 that differ: c \(only train\)")


def test_layout_refusals(tmp_path):
    def refuse(match, **settings):
        with pytest.raises(InputError, match=match):
            image_folder(**{"root": str(tmp_path), "image_size": 6} | settings)

    refuse("came no folder")
    paint(tmp_path / "train" / "a" / "1.png")
    refuse("train/ without test/")
    (tmp_path / "train").rename(tmp_path / "test")
    refuse("test/ without train/")
    (tmp_path / "test").rename(tmp_path / "one")
    refuse(r"dataset\.source\.test_fraction")
    paint(tmp_path / "one" / "2.png")
    refuse("at least 2 classes", test_fraction=0.5)
    (tmp_path / "one" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    refuse("mend the link")
