"""Files that are either whole or not there."""

import os
import threading
from collections.abc import Callable
from pathlib import Path


def write_atomic(path: Path, content: str | bytes, *, flush: bool = True) -> Path:
    """Write under a temporary name, flush to the disk, rename: a reader or a crash never sees half a file.

    `flush=False` spares the wait for the disk where a file that a crash has emptied is written again.
    """
    data = content.encode() if isinstance(content, str) else content

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    return replace_atomic(path, write, flush=flush)


def replace_atomic(path: Path, write: Callable[[Path], object], *, flush: bool = True) -> Path:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, and rename it to `path`.

    When `write` fails (a full disk), what was there before stays and the temporary file goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp{path.suffix}")
    try:
        write(temporary)
        if flush:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
