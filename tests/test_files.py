"""A file is whole or not there, whatever happens to its writer."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from advarch.files import replace_atomic, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("content", "expected"), [("grün\n", b"gr\xc3\xbcn\n"), (b"\x00\xff", b"\x00\xff"), ("", b"")]
)
def test_text_and_bytes_are_written_into_new_folders_and_nothing_else(
    tmp_path: Path, content, expected: bytes
) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    assert write_atomic(path, content) == path
    assert path.read_bytes() == expected and names(path.parent) == ["file.json"]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "a long old text")
    write_atomic(path, "new")
    assert path.read_text() == "new" and names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_writer_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error, before) -> None:
    path = tmp_path / "file.npz"
    if before is not None:
        path.write_text(before)

    def half(temporary: Path) -> None:
        temporary.write_text("half of")
        raise error

    with pytest.raises(type(error)):
        replace_atomic(path, half)
    assert names(tmp_path) == ([] if before is None else ["file.npz"])
    assert before is None or path.read_text() == before


def test_a_writer_that_writes_nothing_fails_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_atomic(path, lambda temporary: None)
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    path.write_text("old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append((path.read_text(), temporary.parent == path.parent, temporary.suffix))

    replace_atomic(path, write)
    # The suffix is kept, for writers that add their own; the folder too, for a rename is atomic on one disk only.
    assert seen == [("old", True, ".npz")] and path.read_text() == "new"


WRITER = """
import select, sys
from pathlib import Path
from advarch.files import write_atomic
path, letter = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
# Until the other end is closed.
while not select.select([sys.stdin], [], [], 0)[0]:
    write_atomic(path, letter * 50_000)
"""


def test_processes_that_write_at_once_never_show_a_reader_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "a" * 50_000)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for letter in "bc"
    ]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    seen, reads, until = set(), 0, time.monotonic() + 60
    try:
        while (reads < 1000 or not seen >= {"b", "c"}) and time.monotonic() < until:
            content = path.read_text()
            assert len(content) == 50_000 and len(set(content)) == 1
            seen.add(content[0])
            reads += 1
    finally:
        for writer in writers:
            writer.stdin.close()
    for writer in writers:
        assert writer.wait() == 0
        writer.stdout.close()
    assert seen >= {"b", "c"} and names(tmp_path) == ["file"]


def test_threads_that_write_at_once_do_not_take_each_other_s_temporary_file(tmp_path: Path) -> None:
    path, met, errors = tmp_path / "file", threading.Barrier(2, timeout=60), []

    def write(letter: str) -> None:
        def both_at_once(temporary: Path) -> None:
            temporary.write_text(letter * 10)
            met.wait()

        try:
            replace_atomic(path, both_at_once)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and path.read_text() in ("a" * 10, "b" * 10) and names(tmp_path) == ["file"]


def test_the_file_has_reached_the_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), fsync(number))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b))[1])
    write_atomic(tmp_path / "file", "x")
    assert done == ["fsync", "replace"]
