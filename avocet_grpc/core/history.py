"""The history of one record or of the whole store, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.revisions import check_kept, check_named
from avocet_grpc.core.tokens import binding_of, decode_token, encode_token, is_count

END = 2**63 - 1

NOTHING_OLDER = HistoryCursor(0, 0)

CURSOR = (is_count, is_count)
"""The state of a token that has a cursor."""
SCANNED = 10_000
"""Entries that one page looks at before it ends short."""
FIRST_CHUNK = 16
CHUNK = 500


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which changes: of `id` ("" for all), by any of `actors`, of any of the `actions`, after `since_revision`."""

    id: str = ""
    actors: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    since_revision: int = 0
    page_size: int = 50
    page_token: str = ""
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Scanned:
    """One entry that a page has looked at: where it stands, and the entry if the query asks for it."""

    at: HistoryCursor
    entry: HistoryEntry | None


def scan(reader: TeamReader, query: HistoryQuery) -> Iterator[Scanned]:
    """Yield the entries after the page's beginning, each with the cursor behind it; at most SCANNED of them.

    Raises InvalidField for a revision to come or a token of another request, RevisionExpired if entries that belong to
    the answer were pruned, or if it names a revision of an earlier ledger.
    """
    at = _beginning(reader, query)
    seen, chunk = 0, FIRST_CHUNK
    while seen < SCANNED:
        # The values of one change may be megabytes, so that no more are read than the page is likely to hold.
        entries = reader.log.entries(at, chunk, id=query.id, newest_first=not query.oldest_first, values=bool(query.id))
        for entry in entries:
            if not query.oldest_first and entry.revision <= query.since_revision:
                return
            at = HistoryCursor(entry.revision, entry.number)
            yield Scanned(at, entry if matches(query, entry) else None)
        if not entries or (len(entries) < chunk and not query.id):
            return
        seen += len(entries)
        chunk = FIRST_CHUNK if query.id else CHUNK


def matches(query: HistoryQuery, entry: HistoryEntry) -> bool:
    """Return True if the query's actors and actions ask for the entry."""
    return (not query.actors or entry.actor in query.actors) and (not query.actions or entry.action in query.actions)


def history_token(query: HistoryQuery, at: HistoryCursor) -> str:
    """Return the token of the page after this cursor."""
    return encode_token("history", _binding(query), list(at))


def names_of(change: str | None) -> list[str]:
    """Return the keys that a change touched, none if there was no record before.

    Raises ValueError if the text ends inside the names.
    """
    if change is None:
        return []
    begin = change.index("[")
    names: list[str] = json.JSONDecoder().raw_decode(change, begin)[0]
    return names


def _beginning(reader: TeamReader, query: HistoryQuery) -> HistoryCursor | None:
    floor = reader.log.floor()
    if query.since_revision:
        check_named(reader, "since_revision", query.since_revision, floor)
    if query.page_token:
        at = HistoryCursor(*decode_token("history", _binding(query), query.page_token, "page_token", CURSOR))
        # Newest first ends at the oldest change that is kept.
        if not query.oldest_first and at.revision < floor:
            return NOTHING_OLDER
        check_kept(reader, at.revision, floor)
        return at
    return HistoryCursor(query.since_revision, END) if query.oldest_first and query.since_revision else None


def _binding(query: HistoryQuery) -> str:
    return binding_of([query.id, query.actors, query.actions, query.since_revision, query.oldest_first])
