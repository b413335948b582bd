"""The C library's allocator, told to give back to the system what is free."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of `mallopt` (malloc.h of glibc)."""
LARGE = 1 << 20
ARENAS = 2
PAGE = 4_096
NEVER = float("inf")
WORTH = 16 << 20
"""Bytes that must be free before they are looked for: it takes a millisecond for some ten MB."""
MUCH = 48 << 20
"""Growth after which objects that only refer to each other are looked for, too: Python does so after many more."""
ONCE_MORE_S = 2.0
"""Seconds after the last growth at which they are looked for once more, to find what has ended since."""


def give_back_large_blocks() -> None:
    """Keep large blocks apart from small ones, so that each is given back to the system when it is freed.

    By default glibc begins to mix them once a large block has been freed, and keeps what one burst of large requests
    took for as long as any small block lies above it. Without such an allocator nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, LARGE)):
            mallopt(parameter, value)


class Usage(ctypes.Structure):
    """`struct mallinfo2` of glibc, since 2.33."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


class Allocator:
    """What the process has allocated, and the giving back of small free blocks. Without glibc it knows nothing."""

    def __init__(self) -> None:
        self._usage = self._trim = None
        self._collected_at = self._trimmed_at = _resident()
        self._given_back = 0
        self._once_more_at = NEVER
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            usage, trim = library.mallinfo2, library.malloc_trim
            usage.restype = Usage
            self._usage, self._trim = usage, trim

    def in_use(self) -> int:
        """Return how many bytes are allocated now; 0 if nobody knows."""
        if self._usage is None:
            return 0
        usage = self._usage()
        return int(usage.uordblks + usage.hblkhd)

    def give_back_free_blocks(self) -> None:
        """Give free blocks between used ones back, if there are many that were not given back before."""
        resident = _resident()
        self._collected_at, self._trimmed_at = min(self._collected_at, resident), min(self._trimmed_at, resident)
        if resident - self._collected_at > MUCH:
            gc.collect()
            self._collected_at, self._once_more_at = resident, time.monotonic() + ONCE_MORE_S
        elif time.monotonic() >= self._once_more_at:
            gc.collect()
            self._once_more_at = NEVER
        if self._usage is None or self._trim is None:
            return
        # Those that were given back count as free until they are used again.
        free = self._usage().fordblks
        self._given_back = min(self._given_back, free)
        if free - self._given_back > WORTH or (free > WORTH and resident - self._trimmed_at > WORTH):
            self._trim(0)
            self._given_back, self._trimmed_at = self._usage().fordblks, _resident()


def _resident() -> int:
    """Return how many bytes of the process are in memory."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * PAGE
