"""The seal: a checksum of the whole ledger, left by a clean stop and broken by the next start.

A byte that changes while nobody serves is noticed before anything of the ledger is used. Of the checksums that
Python has, Adler-32 is the fastest, and one changed byte never escapes it; one processor takes 2 GB in a second. Each
part of the file has its own, so that all processors take part.
"""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from avocet_grpc.durable import put_in_place, sync_directory

CHUNK_BYTES = 4 * 1024 * 1024
PART_BYTES = 64 * CHUNK_BYTES
SUFFIX = "-seal"
END = b" bytes\n"
"""How a whole seal ends."""


class SealBroken(Exception):
    """The ledger is not what the last clean stop left."""


def close_seal(ledger: Path) -> None:
    """Seal a ledger that nobody has open. Raises OSError, and leaves no seal then.

    The seal appears whole: a stop that is cut off while it reads the ledger leaves none.
    """
    seal = _seal_of(ledger)
    new = seal.with_name(f"{seal.name}.new")
    try:
        new.write_text(_checksum(ledger), encoding="ascii")
        put_in_place(new, seal)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def is_sealed(ledger: Path) -> bool:
    """Return whether the last stop was clean, and nothing has started since.

    Earlier versions left half of a seal if a stop was cut off. That vouches for nothing, and says nothing of damage.
    """
    try:
        return _seal_of(ledger).read_bytes().endswith(END)
    except FileNotFoundError:
        return False


def has_sound_seal(ledger: Path) -> bool | None:
    """Return whether the ledger is what the seal says; None without one. Raises OSError."""
    if not is_sealed(ledger):
        return None
    return _seal_of(ledger).read_text(encoding="ascii", errors="replace") == _checksum(ledger)


def break_seal(ledger: Path) -> None:
    """Compare, then take the seal off for good, before anything is written. Raises SealBroken, OSError."""
    if not has_sound_seal(ledger):
        raise SealBroken
    _seal_of(ledger).unlink()
    sync_directory(ledger.parent)


def _seal_of(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + SUFFIX)


def _checksum(ledger: Path) -> str:
    with open(ledger, "rb", buffering=0) as file, ThreadPoolExecutor(os.cpu_count()) as threads:
        size = os.fstat(file.fileno()).st_size
        parts = threads.map(partial(_checksum_of_part, file.fileno()), range(0, size, PART_BYTES))
        return f"adler32 {' '.join(parts)} of {size}{END.decode()}"


def _checksum_of_part(descriptor: int, start: int) -> str:
    sum = 1
    for at in range(start, start + PART_BYTES, CHUNK_BYTES):
        sum = zlib.adler32(os.pread(descriptor, CHUNK_BYTES, at), sum)
    return f"{sum:08x}"
