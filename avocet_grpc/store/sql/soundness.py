"""Whether what a ledger holds agrees with itself: each record's content, the lines, the examples and the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from avocet_grpc.core.record import is_content_digest, load
from avocet_grpc.store.sql.counts import combination_of, counters_of
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.queries import STORED, as_stored
from avocet_grpc.store.sql.rows import FACET, NEVER, CounterRow, FacetRow, facet_of, selected


def contradictions(session: Session) -> Iterator[str]:
    """Yield all that is wrong, each as a line for a person. Reads all of the ledger. Raises the engine's own errors."""
    counted: Counter[tuple[str, str]] = Counter()
    combined: Counter[FacetRow] = Counter()
    yield from _wrong_records(session, counted, combined)
    yield from _lines_of_nobody(session)
    yield from _wrong_examples(session)
    yield from _wrong_counts(session, counted)
    yield from _wrong_facets(session, combined)


def _wrong_records(session: Session, counted: Counter[tuple[str, str]], combined: Counter[FacetRow]) -> Iterator[str]:
    """Also counts the records as the counters and the facets do."""
    for columns in session.each(tuple, STORED):
        stored = as_stored(session, columns)
        row = stored.row
        if bool(row.lives) != (stored.raw is not None):
            yield f"record {row.key} ({row.id}) has {'no' if row.lives else 'still a'} line"
        elif stored.raw is not None and not _is_content(row.digest, stored.raw):
            yield f"the content of record {row.key} ({row.id}) is not what was stored"
        if row.lives:
            counted.update(counters_of(row))
            combined[combination_of(row)] += 1
            if row.facet != facet_of(*(getattr(row, column) for column in FACET)):
                yield f"record {row.key} ({row.id}) is not found by all filters"


def _is_content(digest: bytes | None, raw: bytes) -> bool:
    try:
        return is_content_digest(digest, load(raw))
    except ValueError:
        return False


class _Key(NamedTuple):
    key: int


def _lines_of_nobody(session: Session) -> Iterator[str]:
    query = (
        "SELECT b.key FROM bodies b LEFT JOIN records r ON r.key = b.key WHERE r.key IS NULL OR r.lives = 0"
        " OR r.body <> r.key"
    )
    for row in session.each(_Key, query):
        yield f"the line {row.key} belongs to no record"


class _Open(NamedTuple):
    key: int
    id: str
    exported: int | None


def _wrong_examples(session: Session) -> Iterator[str]:
    """Each exported record has one open example, and no other record has any."""
    query = (
        "SELECT e.key, e.id, r.exported FROM examples e LEFT JOIN records r ON r.key = e.key"
        " WHERE e.removed_revision = :never"
    )
    found = set[int]()
    for example in session.each(_Open, query, {"never": NEVER}):
        if not example.exported:
            yield f"record {example.key} ({example.id}) is exported and should not be"
        elif example.key in found:
            yield f"record {example.key} ({example.id}) is exported twice"
        found.add(example.key)
    for record in session.each(_Open, "SELECT key, id, exported FROM records WHERE exported = 1"):
        if record.key not in found:
            yield f"record {record.key} ({record.id}) is not exported and should be"


def _wrong_counts(session: Session, counted: Counter[tuple[str, str]]) -> Iterator[str]:
    query = "SELECT name, value, n FROM counters WHERE n <> 0"
    stored = {(row.name, row.value): row.n for row in session.each(CounterRow, query)}
    for name, value in sorted(stored.keys() | {known for known, n in counted.items() if n}):
        if stored.get((name, value), 0) != counted[name, value]:
            yield f"the counter {name} {value} says {stored.get((name, value), 0)}, there are {counted[name, value]}"


def _wrong_facets(session: Session, combined: Counter[FacetRow]) -> Iterator[str]:
    stored = {row._replace(n=0): row.n for row in session.each(FacetRow, f"SELECT {selected(FacetRow)} FROM facets")}
    for row in sorted(stored.keys() | combined.keys(), key=repr):
        if stored.get(row, 0) != combined[row]:
            yield f"the facet {row.facet} says {stored.get(row, 0)}, there are {combined[row]}"
