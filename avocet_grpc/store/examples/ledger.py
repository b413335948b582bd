"""A ledger whose exports come from a copy of its examples: `store.py`. All else is the ledger's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from avocet_grpc.core.errors import CorrectionsError
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
from avocet_grpc.core.ports.examples import Examples
from avocet_grpc.core.ports.exports import ExportBatches, ExportReader
from avocet_grpc.core.ports.history import HistoryLog
from avocet_grpc.core.ports.ledger import (
    HistoryCursor,
    HistoryEntry,
    Ledger,
    Reads,
)
from avocet_grpc.core.ports.listing import Listing
from avocet_grpc.core.ports.snapshots import SnapshotReader
from avocet_grpc.core.ports.team import TeamReader, TeamTransaction
from avocet_grpc.store.examples.store import NEEDS_LEDGER, ExampleStore
from avocet_grpc.store.sql.room import RoomOf, check_room
from avocet_grpc.telemetry.guard import failed

T = TypeVar("T")

LOOK_EVERY_S = 5.0
"""How often commits of other processes are looked for."""
GATHER_S = 0.5
"""How long commits of this process are gathered."""
SEAL_EVERY_S = 60.0
LAST_S = 1.0
"""How long a stop waits for what is not in the files yet."""
NEVER = float("inf")
RETRY_S = 60.0
"""After the disk was full, or the files could not be written."""


class CopyReader:
    """A reader whose exports come from the copy."""

    def __init__(self, reader: TeamReader, store: ExampleStore) -> None:
        self._reader, self._store = reader, store

    @property
    def examples(self) -> Examples:
        """See the port."""
        return self._reader.examples

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
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        """See the port."""
        return self._store.batch(self._reader.examples, selection, after_key, limit, max_bytes)

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
        return self._store.total(self._reader.examples, selection, after_key)

    def history(self, id: str) -> list[HistoryEntry]:
        """See the port."""
        return self._reader.history(id)

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        """See the port."""
        return self._reader.newest_change(id, wanted)

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        """See the port."""
        return self._reader.history_after(after, limit)


class CopyBatches:
    """What exports send, from the copy alone as long as that is enough."""

    def __init__(self, ledger: Ledger, store: ExampleStore, most_bytes: int | None) -> None:
        self._ledger, self._store, self._most_bytes = ledger, store, most_bytes

    def export_batch(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        """See the port."""
        batch = self._store.stored_batch(selection, after_key, limit, max_bytes)
        if batch is not NEEDS_LEDGER:
            return batch

        def asked(reader: TeamReader) -> ExportBatch | None:
            return self._store.batch(reader.examples, selection, after_key, limit, max_bytes)

        return self._ledger.read(Reads(asked, (), self._most_bytes))


class ExportLedger:
    """A ledger whose exports come from files below `directory`, which a thread keeps; None: from the ledger alone."""

    def __init__(self, ledger: Ledger, directory: Path | None) -> None:
        self._ledger = ledger
        self.store = ExampleStore(directory, check_room)
        self._committed, self._stop = threading.Event(), threading.Event()
        self._keeping = threading.Lock()
        self._retry_at, self._seal_at = 0.0, time.monotonic() + SEAL_EVERY_S
        ledger.on_commit(self._committed.set)
        ledger.on_full(self._give_back)
        self._thread = threading.Thread(target=self._keep, name="examples", daemon=True)
        self._thread.start()

    @property
    def observer(self) -> Observer:
        """See the port."""
        return self._ledger.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self._ledger.observer = observer

    def read(self, work: Callable[[ExportReader], T]) -> T:
        """See the port."""

        def exporting(reader: TeamReader) -> T:
            return work(CopyReader(reader, self.store))

        return self._ledger.read(Reads.within(work, exporting))

    def read_batches(self, work: Callable[[ExportBatches], T]) -> T:
        """See the port."""
        most_bytes = work.most_bytes if isinstance(work, Reads) else None
        with RoomOf(work):
            return work(CopyBatches(self._ledger, self.store, most_bytes))

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

    def stop(self) -> None:
        """Let another process have the files; exports still come from the ledger."""
        self._stop.set()
        self._committed.set()
        self._thread.join()
        self.store.close()

    def close(self) -> None:
        """See the port."""
        self.stop()
        self._ledger.close()

    def _give_back(self) -> None:
        """The ledger needs the room."""
        self._retry_at = time.monotonic() + RETRY_S
        self._committed.set()

    def _keep(self) -> None:
        while not self._stop.is_set():
            self._look(GATHER_S)
            if self._committed.wait(LOOK_EVERY_S):
                self._committed.clear()
                self._stop.wait(GATHER_S)
        self._seal_at = 0.0
        self._look(LAST_S)

    def _look(self, seconds: float) -> None:
        try:
            self.bring_level(seconds)
        except CorrectionsError:
            # The ledger cannot be read now; whoever asks it is told.
            pass
        except Exception as error:
            failed("examples", error)

    def bring_level(self, seconds: float = NEVER) -> None:
        """Bring the columns, and then the files, to the ledger's newest revision; end after so long if told to stop."""
        with self._keeping:
            self._bring_level(time.monotonic() + seconds)

    def _bring_level(self, end: float) -> None:
        self._ledger.read(lambda reader: self.store.follow(reader.examples))
        self._ledger.read(lambda reader: self.store.forget_dead(reader.examples))
        if time.monotonic() < self._retry_at:
            self.store.give_back()
            return
        is_done = self.store.is_level
        if time.monotonic() >= self._seal_at:
            is_done, self._seal_at = self.store.is_sealed, time.monotonic() + SEAL_EVERY_S
            self.store.remove_unused()
        try:
            while not is_done() and not (self._stop.is_set() and time.monotonic() > end):
                self._ledger.read(lambda reader: self.store.store_some(reader.examples))
        except OSError:
            self._retry_at = time.monotonic() + RETRY_S
