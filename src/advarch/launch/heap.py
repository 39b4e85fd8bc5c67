"""Memory that is freed stays with the process: what the next step asks for is then at hand."""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""The numbers of these two settings in glibc's malloc.h."""

NEVER, LARGEST = 2**31 - 1, 2**25
"""Bytes: more than is ever given back; the largest piece that shares the heap, which glibc by itself comes to as well."""


def keep_freed() -> bool:
    """Have the C library keep freed memory instead of handing it back to the kernel; whether it does.

    A step frees and asks for the same tensors again and again. Those of some megabytes glibc may fetch from the kernel each
    time, page by page, which takes up to a sixth of a narrow network's training step on a CPU. Pieces beyond 32 MiB go back
    as ever: kept, they would leave gaps where batches have several sizes. glibc on Linux alone. Who has set malloc up by
    environment variables has it as they said.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, NEVER))
