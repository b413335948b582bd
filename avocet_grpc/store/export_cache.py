"""Batches of whole exports, kept as they went out: the next export reads them back at the speed of a file.

A cache and nothing more: an unlinked file in any directory, which ends with the process and makes room if the disk
fills. Whether a batch is still what the ledger would give is asked each time.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from avocet_grpc.core.model import (
    Candidate,
    CandidateFilter,
    ExportBatch,
    ExportSelection,
    Order,
    Position,
    QueueItem,
    Stats,
)
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.claims import ClaimReader
from avocet_grpc.core.ports.history import HistoryLog
from avocet_grpc.core.ports.ledger import (
    ExportExtent,
    HistoryCursor,
    HistoryEntry,
    Ledger,
    Reads,
)
from avocet_grpc.core.ports.listing import Listing
from avocet_grpc.core.ports.snapshots import SnapshotReader
from avocet_grpc.core.ports.team import TeamReader, TeamTransaction
from avocet_grpc.store.export_totals import ExportTotals

T = TypeVar("T")

LEAVE_FREE = 4
"""The file takes no more than the fourth part of what is free on its disk."""
MOST_WASTE = 64 * 1024 * 1024
"""Bytes of batches that changed, after which all is forgotten."""


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

    def read(self) -> ExportBatch | None:
        """Return the batch from the file; None if it cannot be read."""
        try:
            ids = os.pread(self.file.fileno(), self.ids_size, self.offset)
            encoded = os.pread(self.file.fileno(), self.size - self.ids_size, self.offset + self.ids_size)
        except OSError:
            return None
        whole = len(ids) + len(encoded) == self.size
        return ExportBatch(self.last_key, self.count, ids, encoded) if whole else None


class Batches:
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
        """Return the batch that begins after this key."""
        return self._kept.get(after_key)

    def next_start(self, after_key: int) -> int | None:
        """Return where the next batch that is kept begins: a new one that ends there makes no other one useless."""
        with self._lock:
            at = bisect.bisect_right(self._starts, after_key)
            return self._starts[at] if at < len(self._starts) else None

    def forget(self, after_key: int) -> None:
        """Drop a batch that is not what the ledger would give now."""
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


class CachedReader:
    """A reader whose exports take kept batches if the caller does not mind their size."""

    def __init__(self, reader: TeamReader, batches: Batches, totals: ExportTotals) -> None:
        self._reader, self._batches, self._totals = reader, batches, totals

    @property
    def claims(self) -> ClaimReader:
        """See the port."""
        return self._reader.claims

    @property
    def listing(self) -> Listing:
        """See the port."""
        return self._reader.listing

    @property
    def log(self) -> HistoryLog:
        """See the port."""
        return self._reader.log

    @property
    def snapshots(self) -> SnapshotReader:
        """See the port."""
        return self._reader.snapshots

    def export_batch(
        self,
        selection: ExportSelection,
        after_key: int,
        limit: int,
        max_bytes: int,
        *,
        about: bool = False,
        up_to_key: int | None = None,
    ) -> ExportBatch | None:
        """See the port."""
        if not about or up_to_key is not None or selection != ExportSelection(selection.revision):
            return self._reader.export_batch(selection, after_key, limit, max_bytes, up_to_key=up_to_key)
        while True:
            if (batch := self._kept(after_key, selection.revision)) is not None:
                return batch
            start = self._batches.next_start(after_key)
            batch = self._reader.export_batch(selection, after_key, limit, max_bytes, up_to_key=start)
            if batch is not None and 2 * batch.count >= limit:
                self._batches.keep(after_key, batch, selection.revision)
            if batch is not None or start is None:
                return batch
            after_key = start

    def _kept(self, after_key: int, revision: int) -> ExportBatch | None:
        kept = self._batches.find(after_key)
        if kept is None:
            return None
        if self._is_unchanged(kept, after_key, revision) and (batch := kept.read()) is not None:
            return batch
        if revision >= kept.revision:
            self._batches.forget(after_key)
        return None

    def _is_unchanged(self, kept: KeptBatch, after_key: int, revision: int) -> bool:
        """Return whether an export at this revision would send the very same examples.

        At the same revision it would. At another one it would, if as many are visible, and each of them was visible
        then, too.
        """
        if revision == kept.revision:
            return True
        extent = self._reader.export_extent(revision, after_key, kept.last_key)
        return extent.count == kept.count and extent.newest_approval <= kept.revision < extent.oldest_removal

    def revision(self) -> int:
        """See the port."""
        return self._reader.revision()

    def first_revision(self) -> int:
        """See the port."""
        return self._reader.first_revision()

    def is_own_revision(self, revision: int) -> bool:
        """See the port."""
        return self._reader.is_own_revision(revision)

    def candidate(self, id: str) -> Candidate | None:
        """See the port."""
        return self._reader.candidate(id)

    def queue(
        self, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        """See the port."""
        return self._reader.queue(filter, order, after, offset, limit)

    def queue_total(self, filter: CandidateFilter) -> int:
        """See the port."""
        return self._reader.queue_total(filter)

    def stats(self, filter: CandidateFilter) -> Stats:
        """See the port."""
        return self._reader.stats(filter)

    def same_prompt(self, digests: Collection[bytes], most: int) -> dict[bytes, int]:
        """See the port."""
        return self._reader.same_prompt(digests, most)

    def known_run_ids(self, run_ids: Collection[str]) -> set[str]:
        """See the port."""
        return self._reader.known_run_ids(run_ids)

    def export_total(self, selection: ExportSelection, after_key: int) -> int:
        """See the port."""
        return (
            self._reader.export_total(selection, after_key)
            if after_key
            else self._totals.total(self._reader, selection)
        )

    def export_growth(self, selection: ExportSelection, revision: int) -> int | None:
        """See the port."""
        return self._reader.export_growth(selection, revision)

    def export_extent(self, revision: int, after_key: int, last_key: int) -> ExportExtent:
        """See the port."""
        return self._reader.export_extent(revision, after_key, last_key)

    def history(self, id: str) -> list[HistoryEntry]:
        """See the port."""
        return self._reader.history(id)

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        """See the port."""
        return self._reader.newest_change(id, wanted)

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        """See the port."""
        return self._reader.history_after(after, limit)


class ExportCache:
    """A ledger whose exports are kept in a file below `directory`; all else is the ledger's own."""

    def __init__(self, ledger: Ledger, directory: Path) -> None:
        self._ledger = ledger
        self.batches = Batches(directory)
        self.totals = ExportTotals()
        ledger.on_full(self.batches.drop)

    @property
    def observer(self) -> Observer:
        """See the port."""
        return self._ledger.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self._ledger.observer = observer

    def read(self, work: Callable[[TeamReader], T]) -> T:
        """See the port."""

        def cached(reader: TeamReader) -> T:
            return work(CachedReader(reader, self.batches, self.totals))

        return self._ledger.read(Reads.within(work, cached))

    def write(self, work: Callable[[TeamTransaction], T]) -> Future[T]:
        """See the port."""
        return self._ledger.write(work)

    def write_all(self, works: Sequence[Callable[[TeamTransaction], T]]) -> Future[list[T | Exception]]:
        """See the port."""
        return self._ledger.write_all(works)

    def on_commit(self, listener: Callable[[], None]) -> None:
        """See the port."""
        self._ledger.on_commit(listener)

    def on_failure(self, listener: Callable[[], None]) -> None:
        """See the port."""
        self._ledger.on_failure(listener)

    def on_full(self, listener: Callable[[], None]) -> None:
        """See the port."""
        self._ledger.on_full(listener)

    def on_reach(self, listener: Callable[[bool], None]) -> None:
        """See the port."""
        self._ledger.on_reach(listener)

    def close(self) -> None:
        """See the port."""
        self._ledger.close()
