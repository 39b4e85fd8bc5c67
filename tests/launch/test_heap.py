"""Freed memory stays with the process, unless a user has set malloc up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from advarch.launch.heap import keep_freed

PAGES = 16_384
"""Four buffers of 16 MiB in pages of 4 KiB."""

HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

PROGRAM = f"""
import ctypes, resource, sys
from advarch.launch.heap import keep_freed

kept = keep_freed() if sys.argv[1] == "kept" else False
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = ctypes.c_void_p, [ctypes.c_void_p], [
    ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def step():
    buffers = [libc.malloc({PAGES * 4096 // 4}) for _ in range(4)]
    for buffer in buffers:
        libc.memset(buffer, 1, {PAGES * 4096 // 4})
    for buffer in buffers:
        libc.free(buffer)

step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)
"""


def faults(how: str, **environment: str) -> tuple[bool, float]:
    """Whether the process said that it keeps memory, and pages it fetched from the kernel in a step."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUN"))}
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env=ours | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, pages = said.stdout.split()
    return kept == "True", float(pages)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_buffers_are_at_hand_again() -> None:
    kept, pages = faults("kept")
    assert kept
    assert pages < PAGES / 100
    kept, pages = faults("plain")
    assert not kept
    # Where Linux gives pages of 2 MiB to who did not ask for them, a buffer is eight of these, and their number says nothing.
    if HUGE.exists() and "[always]" in HUGE.read_text():
        pytest.skip("huge pages for everybody: what plain malloc fetches was not looked at")
    # Without it each step fetches them anew: else there would be nothing to gain, and the function could go.
    assert pages > PAGES / 2


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_a_user_s_own_settings_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1" if name != "GLIBC_TUNABLES" else "glibc.malloc.arena_max=1")
    assert not keep_freed()


def test_elsewhere_than_on_linux_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed()
