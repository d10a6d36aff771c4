"""How much memory there is, and what the C library does with memory that is freed.

A request of 600 kB is a handful of buffers of that size: what was read, the body, the tensor, the outputs.
glibc maps buffers from 128 KiB anew and gives freed memory back at once, so the kernel clears and maps the
same pages again for every request, which cost as much as all the rest. Source: mallopt(3).
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

MAP_BYTES = 16 << 20
"""A larger buffer is mapped by itself and given back when it is freed."""
KEEP_BYTES = 32 << 20
"""So much freed memory at the end of a heap is kept for the next request."""


_CGROUP = Path("/sys/fs/cgroup/memory.max")


def machine_bytes(limit: Path = _CGROUP) -> int:
    """The memory that processes here may use together: the machine's, or the container's if that is less.

    Args:
        limit: of the container, as cgroup v2 says it.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or "max"
        total = min(total, int(limit.read_text()))
    return total


def keep_freed_memory() -> None:
    """Tell this process to reuse the buffers of requests; without glibc nothing changes."""
    with suppress(AttributeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEEP_BYTES)
