"""The C library's allocator, told to give large blocks back."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of `mallopt` (malloc.h of glibc)."""
LARGE = 1 << 20
ARENAS = 2


def give_back_large_blocks() -> None:
    """Keep large blocks apart from small ones, so that each is given back to the system when it is freed.

    By default glibc begins to mix them once a large block has been freed, and keeps what one burst of large requests
    took for as long as any small block lies above it. Without such an allocator nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, LARGE)):
            mallopt(parameter, value)
