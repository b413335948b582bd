"""What one work reads and changes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from avocet_grpc.core.export import shard_hash
from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import (
    Candidate,
    CandidateFilter,
    File,
    Order,
    ParsedLine,
    Position,
    QueueItem,
    Record,
    Source,
    Stats,
)
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry, Remembered
from avocet_grpc.core.ports.mirror import Changed, FileReport
from avocet_grpc.core.record import content_of, earlier_digests, record_in
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.examples import ExampleQueries
from avocet_grpc.store.sql.feed import is_known
from avocet_grpc.store.sql.history import History
from avocet_grpc.store.sql.listing import Listing
from avocet_grpc.store.sql.pending import Pending, Place
from avocet_grpc.store.sql.pruning import Pruning
from avocet_grpc.store.sql.queries import Noted, entry_of
from avocet_grpc.store.sql.reader import SqlReader
from avocet_grpc.store.sql.rows import (
    DictionaryRow,
    HeadRow,
    HistoryRow,
    PastRow,
    RecordRow,
    ReportRow,
    Stored,
    example_row,
    record_row,
    tombstone,
)
from avocet_grpc.store.sql.snapshots import Snapshots
from avocet_grpc.store.sql.waiting_claims import WaitingClaims

T = TypeVar("T")

Encode = Callable[[Record, int], bytes]
"""A record and the revision of its approval as the bytes of a training example."""

KNOWS_OLD_DIGESTS = "past_before_4"
"""The row of `meta` that says that past versions may stand under `earlier_digests`."""


class SqlTransaction:
    """Implements `core.ports.ledger.Transaction`, and what the mirror's commands need beside it.

    Changes wait in memory behind those of the earlier works of the same commit. What the database alone can answer, it
    answers once all of them are written, behind a savepoint.
    """

    def __init__(
        self, session: Session, head: HeadRow, encode: Encode, earlier: Pending, reader: SqlReader | None = None
    ) -> None:
        self._session, self._encode = session, encode
        self._earlier, self._own = earlier, Pending()
        self._reader = reader or SqlReader(session)
        self._saved = False
        self._revision = head.revision
        self._prompts: tuple[object, bytes | None] = (None, None)
        self.head = head

    def keep(self) -> HeadRow:
        """Keep what the work did: its changes go in with the others'. Returns the head after it."""
        if self._saved:
            self._session.execute("RELEASE SAVEPOINT work")
        self._earlier.take(self._own)
        return self.head

    def undo(self) -> None:
        """The work was refused: nothing of it stays."""
        if self._saved:
            self._session.execute("ROLLBACK TO SAVEPOINT work")
            self._session.execute("RELEASE SAVEPOINT work")

    def apart(self, work: Callable[[SqlTransaction], T]) -> T:
        if not self._saved:
            self.written()
        inner = SqlTransaction(self._session, self.head, self._encode, self._own, self._reader)
        try:
            value = work(inner)
        except Exception:
            inner.undo()
            raise
        self.head = inner.keep()
        self._revision = self.head.revision
        if self._own.is_full():
            self.written()
        return value

    @property
    def claims(self) -> WaitingClaims:
        database = lambda: self.written().claims  # noqa: E731
        return WaitingClaims(self._reader.claims, database, self._earlier, self._own, self._has_left)

    @property
    def examples(self) -> ExampleQueries:
        return self.written().examples

    @property
    def listing(self) -> Listing:
        return self.written().listing

    @property
    def log(self) -> History:
        return self.written().log

    @property
    def snapshots(self) -> Snapshots:
        return self.written().snapshots

    @property
    def pruning(self) -> Pruning:
        return Pruning(self._session, self.written().queries, self._raise_head)

    def revision(self) -> int:
        return self._revision

    def first_revision(self) -> int:
        return self.head.first_revision

    def is_own_revision(self, revision: int) -> bool:
        return self._reader.queries.is_own_revision(revision)

    def new_revision(self) -> int:
        if self.head.revision == self._revision:
            self.head = HeadRow(self._revision + 1, *self.head[1:])
        return self.head.revision

    def candidate(self, id: str) -> Candidate | None:
        stored = self.stored(File.CANDIDATES, id)
        if stored is None or not stored.row.lives:
            return None
        if stored.loaded is None:
            stored = stored._replace(loaded=stored.record)
            self._own.stored[File.CANDIDATES, id] = stored
        return stored.as_candidate()

    def history(self, id: str) -> list[HistoryEntry]:
        return self._waiting_history(id) + self._reader.history(id)

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        found = next((entry for entry in self._waiting_history(id) if wanted(entry)), None)
        return found or self._reader.newest_change(id, wanted)

    def _waiting_history(self, id: str) -> list[HistoryEntry]:
        waiting = [row for pending in (self._own, self._earlier) for row in reversed(pending.history) if row.id == id]
        return [entry_of(Noted(0, *row)) for row in waiting]

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        return self.written().history_after(after, limit)

    def remembered(self, principal: str, request_id: str) -> Remembered | None:
        for pending in (self._own, self._earlier):
            if (found := pending.requests.get((principal, request_id))) is not None:
                return found[0]
        return self._reader.queries.remembered(principal, request_id)

    def queue(
        self, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        return self.written().queue(filter, order, after, offset, limit)

    def queue_total(self, filter: CandidateFilter) -> int:
        return self.written().queue_total(filter)

    def stats(self, filter: CandidateFilter) -> Stats:
        return self.written().stats(filter)

    def same_prompt(self, digests: Collection[bytes], most: int) -> dict[bytes, int]:
        return self.written().same_prompt(digests, most)

    def known_run_ids(self, run_ids: Collection[str]) -> set[str]:
        return self.written().known_run_ids(run_ids)

    def written(self) -> SqlReader:
        """Return the database with all that waits to be written."""
        if not self._saved:
            self._earlier.flush(self._session)
            self._session.execute("SAVEPOINT work")
            self._saved = True
        self._own.flush(self._session)
        return self._reader

    def stored(self, file: File, id: str) -> Stored | None:
        """Return the record of the id in the file, or its tombstone; None if the ledger never had one."""
        place = (int(file), id)
        for pending in (self._own, self._earlier):
            if place in pending.stored:
                return pending.stored[place]
        seen: dict[Place, Stored | None] = {(0, id): None, (1, id): None}
        seen |= {(found.row.file, id): found for found in self._reader.queries.stored(id)}
        for known, found in seen.items():
            if known not in self._earlier.stored:
                self._own.stored.setdefault(known, found)
        return self._own.stored[place]

    def add(self, file: File, line: ParsedLine) -> int:
        if line.columns is not None:
            self._own.stored[int(file), line.columns.id] = None
        return self.put(file, line)

    def put(self, file: File, line: ParsedLine, source: Source = Source.SERVICE, *, new_key: bool = False) -> int:
        """See the port. `source` says who wrote the line; `new_key` moves an existing record behind all others."""
        if line.columns is None:
            raise ValueError("a malformed line is not a record")
        record, was = record_in(line), self._read(file, line.columns.id)
        replaces = was is not None and bool(was.row.lives)
        row = record_row(
            was.row.key if was is not None and replaces and not new_key else self._take_key(),
            file,
            line,
            prompt_digest=self._prompt_digest(record, was),
            revision=self.new_revision(),
            made_by=source,
            removed_revision=was.row.removed_revision if was is not None else 0,
            longest=self._session.dialect.longest_indexed,
        )
        if was is not None and replaces:
            self._retire(was, row.digest)
        self._own.counts.count(row, +1)
        if row.exported:
            encoded = self._encode(record, row.revision)
            self._own.open_example(example_row(row, shard_hash(row.id), encoded))
        self._change(row, line.raw, record)
        return row.key

    def remove(self, file: File, id: str, source: Source = Source.SERVICE) -> None:
        """See the port. `source` says who removed it."""
        was = self._read(file, id)
        if was is None:
            return
        revision = self.new_revision()
        if was.row.lives:
            self._retire(was, None)
        self._change(tombstone(was.row, revision, int(source)), None, None)

    def respell(self, file: File, line: ParsedLine) -> None:
        """Other bytes for the content that the record has; no new revision."""
        if line.columns is None or (was := self._read(file, line.columns.id)) is None:
            raise ValueError("there is no record to spell in another way")
        # The digest of the prompt is of its text, so that callers can work it out.
        row = was.row._replace(prompt_digest=self._prompt_digest(record_in(line), None))
        self._change(row, line.raw, None)

    def standing(self, file: File, id: str) -> Changed | None:
        """Return the record of the id as the mirror knows it, or its tombstone; None if the ledger never had one."""
        if (stored := self.stored(file, id)) is None:
            return None
        row = stored.row
        return Changed(row.id, row.key, row.revision, Source(row.made_by), stored.raw, row.digest, row.removed_revision)

    def knows(self, file: File, line: ParsedLine) -> bool:
        """Return whether the line's content was the record's before, was overruled, or was removed."""
        if line.columns is None:
            return False
        id, digest = line.columns.id, content_of(line)
        if any((id, int(file), digest) in pending.past for pending in (self._own, self._earlier)):
            return True
        if is_known(self._session, file, id, digest):
            return True
        if not self._knows_old_digests():
            return False
        return any(is_known(self._session, file, id, earlier) for earlier in earlier_digests(record_in(line)))

    def _knows_old_digests(self) -> bool:
        query = "SELECT count(*) FROM meta WHERE name = :name"
        return bool(self._session.number(query, {"name": KNOWS_OLD_DIGESTS}))

    def add_dictionary(self, row: DictionaryRow) -> None:
        """Keep a dictionary for the lines to come, unless there is one of its number by now."""
        self.written()
        self._session.insert("dictionaries", [row], "ON CONFLICT (number) DO NOTHING")

    def know(self, file: File, line: ParsedLine) -> None:
        """The line's content counts as a past version of its record from now on."""
        if line.columns is not None:
            self._own.add_past(
                PastRow(line.columns.id, int(file), content_of(line), self.new_revision(), int(Source.EXTERNAL))
            )

    def set_report(self, file: File, report: FileReport) -> None:
        """What the mirror tells of a file, in place of what it told before."""
        self.written()
        self._session.execute("DELETE FROM reports WHERE file = :file", {"file": int(file)})
        row = ReportRow(
            file=int(file),
            level_revision=report.level.revision,
            level_key=report.level.key,
            malformed=report.malformed,
            duplicate_ids=report.duplicate_ids,
            pending=report.pending,
            behind_since=report.behind_since,
            clean=int(report.clean),
        )
        self._session.insert("reports", [row])

    def note(self, entry: HistoryEntry) -> None:
        e = entry
        self._own.note(
            HistoryRow(
                e.revision,
                int(e.file),
                e.id,
                str(e.action),
                e.actor,
                e.at,
                e.status_before,
                e.status_after,
                e.change,
                int(e.source),
            )
        )

    def remember(self, principal: str, request_id: str, remembered: Remembered) -> None:
        self._own.requests[principal, request_id] = (remembered, int(self._session.now()))

    def _read(self, file: File, id: str) -> Stored | None:
        """`stored`, and note it as read by this work."""
        place = (int(file), id)
        self._own.stored[place] = found = self.stored(file, id)
        return found

    def _change(self, row: RecordRow, raw: bytes | None, loaded: Record | None) -> None:
        other = (1 - row.file, row.id)
        if other not in self._own.stored and other in self._earlier.stored:
            self._own.stored[other] = self._earlier.stored[other]
        self._own.change((row.file, row.id), Stored(row, raw, loaded))
        if self._own.is_full():
            self.written()

    def _has_left(self, key: int) -> bool:
        return key in self._own.left or key in self._earlier.left

    def _raise_head(self, first_revision: int, pruned_revision: int) -> None:
        """Keep less from now on."""
        first, pruned = self.head.first_revision, self.head.pruned_revision
        self.head = self.head._replace(
            first_revision=max(first, first_revision), pruned_revision=max(pruned, pruned_revision)
        )

    def _take_key(self) -> int:
        key = self.head.next_key
        self.head = HeadRow(self.head.revision, key + 1, *self.head[2:])
        return key

    def _retire(self, was: Stored, digest: bytes | None) -> None:
        """The record as it was is past from this revision on; `digest` is of what takes its place."""
        row = was.row
        self._own.counts.count(row, -1)
        if row.exported:
            self._own.close_example(row, self.new_revision())
        if row.digest is not None and row.digest != digest:
            self._own.add_past(PastRow(row.id, row.file, row.digest, self.new_revision(), row.made_by))

    def _prompt_digest(self, record: Record, was: Stored | None) -> bytes | None:
        """Worked out once for a prompt: a decision leaves it alone, and both files get the same."""
        prompt, (known, digest) = record.get("prompt_messages"), self._prompts
        if prompt is known:
            return digest
        if was is not None and was.loaded is not None and was.loaded.get("prompt_messages") is prompt:
            digest = was.row.prompt_digest
        else:
            digest = prompt_digest(record)
        self._prompts = (prompt, digest)
        return digest
