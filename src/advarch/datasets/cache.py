"""Pictures decoded once: a byte array on disk beside the pictures, memory-mapped when it is read.

The array's name carries a digest of every file's path, size and time of change, of the image size and of the
decoder's version, so an array is either right or not found. It is written under a temporary name and renamed:
a killed process leaves nothing that could be mistaken for a cache, and two processes that decode the same
pictures at the same time both write the same bytes, each under its own temporary name. The folder may be
deleted at any time.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from advarch.datasets import decode
from advarch.datasets.progress import tracked
from advarch.errors import InputError

CHUNK = 32
"""Files handed to a worker process at a time."""

SMALL = 512
"""Up to so many files are decoded right here: starting processes would take longer."""

MOST_PROCESSES = 16
"""More would wait for the disk and for the one process that writes."""


@dataclass(frozen=True)
class File:
    """A picture file: its path relative to the root, size in bytes, time of last change in nanoseconds."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pictures of a list of files.

    Attributes:
        x: memory-mapped uint8 (n, 3, size, size), the undamaged files in their order.
        intact: bool (files,), which files those are.
        damaged: (path, reason) of the others.
    """

    x: np.ndarray
    intact: np.ndarray
    damaged: tuple[tuple[str, str], ...]


def decoded(root: Path, files: Sequence[File], *, image_size: int, label: str) -> Decoded:
    """The files as one array, from the cache where there is one, decoded and cached where there is none.

    Args:
        root: the dataset's folder.
        files: below `root`.
        image_size: height and width of the decoded images, pixels.
        label: what is being decoded, for the progress bar.

    Raises:
        InputError: a file can't be read, nowhere to write the cache, or every file is damaged.
    """
    if image_size < 1:
        raise InputError(f"expected dataset.image_size of at least 1 pixel, came {image_size}; 32 is CIFAR's")
    name = f"{image_size}px-{digest(files, image_size)}"
    for folder in (root / ".advarch", _elsewhere(root)):
        found = _read(folder / name, files, image_size)
        if found is not None:
            return found
    folder = _writable(root)
    try:
        _write(folder / name, root, files, image_size, label)
    except OSError as error:
        raise InputError(
            f"expected to read the pictures of {root} and to write the decoded ones to {folder}, came: "
            f"{error}; "
            "check permissions and free space"
        ) from error
    written = _read(folder / name, files, image_size)
    if written is None:
        raise InputError(
            f"expected the decoded pictures just written to {folder}, came nothing; is another program "
            "removing them?"
        )
    return written


def digest(files: Sequence[File], image_size: int) -> str:
    """16 hexadecimal digits that change when a file is added, removed, renamed or changed."""
    sha = hashlib.sha256(f"{decode.VERSION}:{image_size}".encode())
    for file in files:
        sha.update(f"\0{file.path}\0{file.size}\0{file.mtime_ns}".encode("utf-8", "surrogateescape"))
    return sha.hexdigest()[:16]


def _elsewhere(root: Path) -> Path:
    """Where the cache lies when the dataset's folder can't be written to, as shared ones often can't."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return home / "advarch" / key


def _writable(root: Path) -> Path:
    reasons = []
    for folder in (root / ".advarch", _elsewhere(root)):
        probe = folder / f".{secrets.token_hex(8)}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            reasons.append(str(error))
        else:
            return folder
    raise InputError(
        f"expected a writable folder for the decoded pictures of {root}, came: {'; '.join(reasons)}; "
        "set XDG_CACHE_HOME to a folder that can be written to"
    )


def _read(stem: Path, files: Sequence[File], image_size: int) -> Decoded | None:
    try:
        notes = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        x = np.load(stem.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        damaged = tuple((str(path), str(reason)) for path, reason in notes["damaged"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or cut short by a full disk: decode again
    names = {path for path, _ in damaged}
    intact = np.array([file.path not in names for file in files], dtype=bool)
    if x.dtype != np.uint8 or x.shape != (int(intact.sum()), 3, image_size, image_size):
        return None
    return Decoded(x=x, intact=intact, damaged=damaged)


def _write(stem: Path, root: Path, files: Sequence[File], image_size: int, label: str) -> None:
    paths = [str(root / file.path) for file in files]
    damaged = []
    kept = 0
    with _atomic(stem.with_suffix(".npy")) as target:
        _header(target, len(files), image_size)
        start = target.tell()
        for file, outcome in zip(
            files, tracked(_outcomes(paths, image_size), total=len(files), label=label), strict=True
        ):
            if isinstance(outcome, str):
                damaged.append((file.path, outcome))
            else:
                target.write(outcome.tobytes())
                kept += 1
        if kept == 0:
            path, reason = damaged[0]
            raise InputError(
                f"expected pictures in {root}, came {len(damaged)} files and all of them damaged, the first "
                f"is {path} "
                f"({reason}); replace them"
            )
        target.seek(0)
        _header(target, kept, image_size)
        assert target.tell() == start  # NumPy leaves room in a header for the first axis to change
    # The notes come last: an array without notes is no cache.
    with _atomic(stem.with_suffix(".json")) as target:
        target.write(json.dumps({"damaged": damaged}).encode())


def _header(target: BinaryIO, count: int, image_size: int) -> None:
    shape = (count, 3, image_size, image_size)
    np.lib.format.write_array_header_1_0(target, {"descr": "|u1", "fortran_order": False, "shape": shape})


@contextlib.contextmanager
def _atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when it is complete and on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _outcomes(paths: Sequence[str], image_size: int) -> Iterator[decode.Outcome]:
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    # A job of a cluster may use fewer cores than the machine has; macOS can't tell.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(MOST_PROCESSES, cores, len(chunks))
    done = 0
    if processes > 1 and len(paths) > SMALL:
        # Spawned, not forked: the parent may hold locks of other threads and of the accelerator.
        pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
        try:
            for outcomes in pool.map(decode.decode_files, chunks, [image_size] * len(chunks)):
                yield from outcomes
                done += 1
        except BrokenProcessPool:
            pass  # a script without a main guard can't spawn, a full memory kills workers: go on without them
        finally:
            pool.shutdown(cancel_futures=True)
    for chunk in chunks[done:]:
        yield from decode.decode_files(chunk, image_size)
