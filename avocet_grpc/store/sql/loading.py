"""Taking a whole file in: at the first start, without history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from avocet_grpc.core.export import shard_hash
from avocet_grpc.core.external import counts_more
from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import File, ParsedLine, Source
from avocet_grpc.core.ports.mirror import Changed, Outcome, Verdict
from avocet_grpc.core.record import record_in
from avocet_grpc.store.sql.bodies import LinesToStore, insert_examples, stored_once
from avocet_grpc.store.sql.counts import CountsToAdd
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.feed import IS_EMPTY
from avocet_grpc.store.sql.filters import among
from avocet_grpc.store.sql.pending import Pending
from avocet_grpc.store.sql.rows import HeadRow, RecordRow, example_row, record_row
from avocet_grpc.store.sql.schema import LATE_INDEXES
from avocet_grpc.store.sql.transaction import Encode, SqlTransaction

BATCH_LINES = 1_000
BATCH_BYTES = 8_000_000
"""Of lines that are held at once. PostgreSQL also ends a load that says nothing for some seconds."""
MOST_COUNTS = 20_000
"""Different combinations of values that wait to be counted."""
KNOWN_AT_ONCE = 250


class Load:
    """One change that takes whole files in. `finish` writes what is left; the engine commits."""

    def __init__(self, session: Session, head: HeadRow, encode: Encode) -> None:
        self._session, self._encode = session, encode
        self._head = head
        self._next_key = head.next_key
        self._revision = head.revision + 1
        self._counts = CountsToAdd()
        self._indexes_dropped = False
        self._lines_to_store = LinesToStore(session)

    @property
    def epoch(self) -> int:
        """The epoch of the mirror that may send commands."""
        return self._head.mirror_epoch

    def is_empty(self, file: File) -> bool:
        """Return whether the ledger has never held a record of the file."""
        return bool(self._session.number(IS_EMPTY, {"file": int(file)}))

    def lines(self, file: File, lines: Iterable[ParsedLine]) -> Iterator[Outcome]:
        """Take the lines in as they stand in the file; what becomes of each."""
        if self._session.dialect.indexes_last and all(self.is_empty(each) for each in File):
            self._drop_indexes()
        source = iter(lines)
        while batch := _batch(source):
            self._lines_to_store.store()
            self._session.lines.learn(self._next_key - 1)
            yield from self._take(file, batch)

    def finish(self) -> HeadRow:
        """Write what is left. Returns the head to store."""
        self._lines_to_store.store()
        if self._indexes_dropped:
            for statement in LATE_INDEXES.values():
                self._session.execute(statement)
        self._write_counts()
        return self._head._replace(revision=self._revision, next_key=self._next_key)

    def _write_counts(self) -> None:
        self._counts.write(self._session)

    def _drop_indexes(self) -> None:
        """Sorting an index once costs a third of growing it line by line."""
        for name in LATE_INDEXES:
            self._session.execute(f"DROP INDEX {name}")
        self._indexes_dropped = True

    def _take(self, file: File, lines: list[ParsedLine]) -> list[Outcome]:
        outcomes, new = list[Outcome](), dict[str, tuple[RecordRow, ParsedLine]]()
        known = self._known(file, lines)
        for line in lines:
            if line.columns is None:
                raise ValueError("a malformed line is not a record")
            id = line.columns.id
            if id in known:
                self._insert(new)
                self._lines_to_store.store()
                new = {}
                outcomes.append(self._take_again(file, id, line))
                continue
            row = self._row(file, line)
            new[id] = (row, line)
            known.add(id)
            outcomes.append(Outcome(Verdict.NEW, _changed(row, line.raw)))
        self._insert(new)
        return outcomes

    def _known(self, file: File, lines: list[ParsedLine]) -> set[str]:
        """Return those ids of the lines that the ledger has."""
        ids, known = [line.columns.id for line in lines if line.columns is not None], set[str]()
        for start in range(0, len(ids), KNOWN_AT_ONCE):
            where, values = among("id", ids[start : start + KNOWN_AT_ONCE])
            query = f"SELECT id FROM records WHERE {where} AND file = :file"
            known |= {id for (id,) in self._session.all(tuple, query, {**values, "file": int(file)})}
        return known

    def _take_again(self, file: File, id: str, line: ParsedLine) -> Outcome:
        """A further line of an id: candidates, the first line is the record; approved, the last exportable one."""
        before = self._head._replace(revision=self._revision - 1, next_key=self._next_key)
        tx = SqlTransaction(self._session, before, self._encode, Pending())
        now = tx.standing(file, id)
        if now is None or file is File.CANDIDATES or not counts_more(line, now):
            return Outcome(Verdict.DUPLICATE, now)
        tx.put(file, line, Source.EXTERNAL, new_key=True)
        standing = tx.standing(file, id)
        tx.written()
        self._head = tx.keep()._replace(revision=self._head.revision)
        self._next_key = self._head.next_key
        return Outcome(Verdict.REPLACED, standing)

    def _row(self, file: File, line: ParsedLine) -> RecordRow:
        key = self._next_key
        self._next_key += 1
        return record_row(
            key,
            file,
            line,
            prompt_digest=prompt_digest(record_in(line)),
            revision=self._revision,
            made_by=Source.EXTERNAL,
            longest=self._session.dialect.longest_indexed,
        )

    def _insert(self, new: dict[str, tuple[RecordRow, ParsedLine]]) -> None:
        records, lines = stored_once(self._session, [(row, line.raw) for row, line in new.values()])
        self._session.insert("records", records)
        self._lines_to_store.begin(lines)
        examples = [
            example_row(row, shard_hash(row.id), self._encode(record_in(line), row.revision))
            for row, line in new.values()
            if row.exported
        ]
        insert_examples(self._session, examples)
        for row, _ in new.values():
            self._counts.count(row, 1)
        if len(self._counts) > MOST_COUNTS:
            self._write_counts()


def _batch(source: Iterator[ParsedLine]) -> list[ParsedLine]:
    """Take the next lines: at most BATCH_LINES, and no more once they have BATCH_BYTES. Empty at the end."""
    batch, size = list[ParsedLine](), 0
    for line in islice(source, BATCH_LINES):
        batch.append(line)
        size += len(line.raw)
        if size >= BATCH_BYTES:
            break
    return batch


def _changed(row: RecordRow, raw: bytes) -> Changed:
    return Changed(row.id, row.key, row.revision, Source.EXTERNAL, raw, row.digest, row.removed_revision)
