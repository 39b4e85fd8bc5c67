"""What a page is written from, as a word that is another one when any of it has changed: `report --all` writes what is new."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import advarch
from advarch.runs.config import digest
from advarch.runs.lock import holder

BESIDE = ("checkpoints", "candidates")
"""Folders in a run's folder that its page does not show; each candidate has a page of its own."""

UNSEEN = (".ckpt", ".safetensors", ".html")


def stamp(folder: Path) -> str:
    """Of a run folder: all files that a page may show, and whether a process works there, which may end without a word."""
    return digest([list(_files(folder)), holder(folder)])


def code() -> str:
    """Of advarch itself: its version, and its files, which may change without it."""
    root = Path(advarch.__file__).parent
    return digest([advarch.__version__, list(written(sorted(root.rglob("*.py"))))])


def written(paths: Iterable[str | Path]) -> Iterator[tuple[str, ...]]:
    """Name, time, size and place on the disk of files; of one that is not there the name alone.

    The time is that of the last change of the file or of what is known of it, which no program can set back.
    """
    for path in paths:
        name = os.path.basename(path)
        try:
            found = os.stat(path)
            yield name, str(found.st_ctime_ns), str(found.st_size), str(found.st_ino)
        except OSError:
            yield (name,)


def _files(folder: Path) -> Iterator[tuple[str, ...]]:
    for path, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if name not in BESIDE)
        shown = (name for name in sorted(names) if not name.startswith(".") and not name.endswith(UNSEEN))
        yield (path,)
        yield from written(os.path.join(path, name) for name in shown)
