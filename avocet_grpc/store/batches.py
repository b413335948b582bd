"""Batches of whole exports, kept as they went out: the next export reads them back at the speed of a file.

A cache and nothing more: an unlinked file beside the ledger, which ends with the process and makes room where the disk
fills. Whether a batch is still what the ledger would give is asked each time (`exports.py`).
"""

from __future__ import annotations

import bisect
import contextlib
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from avocet_grpc.core.model import ExportBatch

LEAVE_FREE = 4
"""The file takes no more than the fourth part of what is free on its disk."""
MOST_WASTE = 64 * 1024 * 1024
"""Bytes of batches that changed, after which all begins anew."""


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """The examples after some key up to `last_key`, as an export at `revision` sent them."""

    revision: int
    last_key: int
    count: int
    ids_size: int
    size: int
    offset: int
    file: IO[bytes]


class BatchCache:
    """The batches by the key after which each begins. Any thread may call it; none of its failures is an error."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self.drop()

    def drop(self) -> None:
        """Forget everything, and give the room back once nobody reads it any more."""
        with self._lock:
            self._file: IO[bytes] | None = None
            self._end = self._waste = 0
            self._kept: dict[int, KeptBatch] = {}
            self._starts: list[int] = []

    def find(self, after_key: int) -> KeptBatch | None:
        """The batch that begins after this key."""
        return self._kept.get(after_key)

    def next_start(self, after_key: int) -> int | None:
        """Where the next batch that is kept begins: a new one that ends there makes no other one useless."""
        with self._lock:
            at = bisect.bisect_right(self._starts, after_key)
            return self._starts[at] if at < len(self._starts) else None

    def read(self, kept: KeptBatch) -> ExportBatch | None:
        """The batch from the file; None where it cannot be read."""
        file, ids_size = kept.file.fileno(), kept.ids_size
        try:
            ids = os.pread(file, ids_size, kept.offset)
            encoded = os.pread(file, kept.size - ids_size, kept.offset + ids_size)
        except OSError:
            return None
        whole = len(ids) + len(encoded) == kept.size
        return ExportBatch(kept.last_key, kept.count, ids, encoded) if whole else None

    def forget(self, after_key: int) -> None:
        """This batch is no longer what the ledger would give."""
        with self._lock:
            kept = self._kept.pop(after_key, None)
            if kept is not None:
                self._starts.remove(after_key)
                self._waste += kept.size
            wasteful = self._waste > MOST_WASTE
        if wasteful:
            self.drop()

    def keep(self, after_key: int, batch: ExportBatch, revision: int) -> None:
        """Write the batch, if the disk has room and no other thread was faster."""
        content = batch.ids + batch.encoded
        with contextlib.suppress(OSError), self._lock:
            if after_key in self._kept or not self._has_room(len(content)):
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
            if os.pwrite(self._file.fileno(), content, self._end) < len(content):
                return
            self._kept[after_key] = KeptBatch(
                revision, batch.last_key, batch.count, len(batch.ids), len(content), self._end, self._file
            )
            bisect.insort(self._starts, after_key)
            self._end += len(content)

    def _has_room(self, size: int) -> bool:
        disk = os.statvfs(self._directory)
        return disk.f_bavail * disk.f_frsize >= LEAVE_FREE * (self._end + size)
