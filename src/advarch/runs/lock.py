"""A lock with a heartbeat: two processes never work in one folder."""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from advarch.files import write_atomic

HEARTBEAT = 5.0
"""Seconds between two signs of life."""

STALE = 60.0
"""Seconds without a sign of life after which a holder on another machine counts as dead."""


class Busy(Exception):
    """Another living process holds the folder."""


class FolderLock:
    """`with FolderLock(folder):` holds `folder/.lock`.

    A holder that died (on this machine: its process is gone; elsewhere: no heartbeat for a minute) is pushed aside.

    Raises:
        Busy: a living process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._stop = threading.Event()

    def __enter__(self) -> "FolderLock":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _guard(self.path):
            owner = holder(self.path.parent)
            if owner is not None:
                raise Busy(f"{self.path.parent} is in the hands of {owner}; wait for it or stop it")
            write_atomic(self.path, json.dumps(_identity()))
        self._stop.clear()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with _guard(self.path):
            if _owner(self.path) == _identity():
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return


def holder(folder: Path) -> str | None:
    """Who works in the folder, as host:pid, or None."""
    path = folder / ".lock"
    owner = _owner(path)
    if owner is None:
        return None
    if owner["host"] == socket.gethostname():
        return f"{owner['host']}:{owner['pid']}" if _started(owner["pid"]) == owner["started"] else None
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    return f"{owner['host']}:{owner['pid']}" if age < STALE else None


@contextmanager
def _guard(path: Path) -> Iterator[None]:
    """Looking at a lock and changing it is one act: two processes that both find a dead holder would remove each other's."""
    with path.with_name(".lock.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _owner(path: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) and {"host", "pid", "started"} <= set(owner) else None


def _identity() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: int) -> str | None:
    """When the process began (a pid alone is reused), or None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
