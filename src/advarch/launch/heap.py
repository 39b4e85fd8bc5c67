"""Memory that is freed stays with the process: what the next step asks for is then at hand."""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""The numbers of these two settings in glibc's malloc.h."""

NEVER, LARGEST, LARGEST_ONCE = 2**31 - 1, 2**30, 2**25
"""Bytes: more than is ever given back; tensors up to here share the heap; the most that older versions take for it."""


def keep_freed() -> bool:
    """Have the C library keep freed memory instead of handing it back to the kernel; whether it does.

    A step frees and asks for the same tensors again and again. Those of some megabytes glibc fetches from the kernel each
    time, page by page, which takes up to a fifth of a narrow network's training step on a CPU; the memory held at most is as
    before. glibc on Linux alone. Who has set malloc up by environment variables has it as they said.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    shared = bool(mallopt(MMAP_THRESHOLD, LARGEST)) or bool(mallopt(MMAP_THRESHOLD, LARGEST_ONCE))
    return bool(mallopt(TRIM_THRESHOLD, NEVER)) and shared
