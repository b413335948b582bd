"""Candidates of any status, page by page, and the search for a text in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import NamedTuple

from avocet_grpc.core.forms import searched_texts
from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position
from avocet_grpc.core.ports.search import Search
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.record import record_of
from avocet_grpc.core.tokens import binding_of, decode_token, encode_token, is_count, place_value

SCANNED = 10_000
"""Candidates that one page looks at before it ends short."""
SCANNED_BY_INDEX = 1_000
"""The same of candidates that an index names: they may have all parts of a text, and not the text."""
CHUNK = 100
"""Candidates that are read at once: each may have megabytes."""
LINES = 8
"""Lines that are read at once of candidates that an index names."""
MOST_RECENT = 2_000
"""Candidates that an index of texts may lack; of more, the page is read without it."""
_PLAIN = re.compile(rb"[ !#-.0-\[\]-~]+")
"""Characters that stand in a line as they are, unless their writer escaped them as `\\u00..`."""
_NUMBER = re.compile(rb"[0-9.e+-]+")
"""A correction that is a number is searched as it would be written, not as the line has it."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which candidates: of any of `statuses` (None: other words), that pass the filter and have `text` in them."""

    statuses: frozenset[str | None] = frozenset()
    filter: CandidateFilter = field(default_factory=CandidateFilter)
    text: str = ""
    order: Order = Order.FILE
    page_size: int = 20
    page_token: str = ""
    include_record: bool = False


Places = Iterator[tuple[Position, Candidate | None]]


class Scan(NamedTuple):
    """What a page looks at, in order: each place, and the candidate there if it matches.

    It ends at the last candidate; the page must stop after `most` places.
    """

    places: Places
    most: int


def scan(reader: TeamReader, query: ListQuery, search: Search | None = None) -> Scan:
    """Return what the page looks at. Raises InvalidField for a token of another request."""
    after = None
    if query.page_token:
        shape = (place_value(query.order), is_count)
        after = Position(*decode_token("list", _binding(query), query.page_token, "page_token", shape))
    narrowed = None
    if query.text and search is not None:
        narrowed = _narrowed(reader, query, search, after.key if after else 0)
    if narrowed is not None:
        return Scan(_with_text(narrowed, query.text), SCANNED_BY_INDEX)
    return Scan(_with_text(_all(reader, query, after), query.text), SCANNED)


def _with_text(found: Places, text: str) -> Places:
    needle = folded(text)
    for at, candidate in found:
        yield at, candidate if candidate is not None and has_text(candidate, needle) else None


def _all(reader: TeamReader, query: ListQuery, after: Position | None) -> Places:
    """Yield once for each row that was read: the candidates that the filter passes, and where the look ended."""
    left = SCANNED
    while left > 0:
        looked = reader.listing.look(query.statuses, query.filter, query.order, after, CHUNK, left)
        for item in looked.found:
            yield item.position, item.candidate
        if looked.ended_at is None:
            return
        after, left = looked.ended_at, left - looked.seen
        yield from repeat((after, None), looked.seen - len(looked.found))


def _recent(reader: TeamReader, search: Search) -> list[int] | None:
    """Return the keys of what changed since the index was level, in order; None if that is too much, or unknown."""
    if (level := search.level()) is None:
        return None
    changed = reader.listing.changed_after(level, MOST_RECENT + 1)
    return sorted(changed) if len(changed) <= MOST_RECENT else None


def _narrowed(reader: TeamReader, query: ListQuery, search: Search, after: int) -> Places | None:
    """Return candidates that the index names, and those that it does not know yet; None if it cannot be used."""
    recent = _recent(reader, search)
    named = None if recent is None else search.keys(query.text, after, CHUNK)
    if recent is None or named is None:
        return None
    return _named(reader, query, search, recent, after, named)


def _named(
    reader: TeamReader, query: ListQuery, search: Search, recent: list[int], after: int, named: list[int] | None
) -> Places:
    """Yield candidates behind `after`, of which the index has named the first already."""
    while True:
        if named is None:
            # The index failed in the middle of the page.
            yield from _all(reader, query, Position(None, after))
            return
        keys = named
        last = keys[-1] if len(keys) == CHUNK else None
        keys = sorted({*keys, *(key for key in recent if key > after and (last is None or key <= last))})
        for start in range(0, len(keys), LINES):
            part = keys[start : start + LINES]
            found = reader.listing.among(part, query.statuses, query.filter)
            for key in part:
                yield Position(None, key), found.get(key)
        if last is None:
            return
        after, named = last, search.keys(query.text, last, CHUNK)


def list_token(query: ListQuery, at: Position) -> str:
    """Return the token of the page after this place."""
    return encode_token("list", _binding(query), [at.value, at.key])


def has_text(candidate: Candidate, needle: bytes) -> bool:
    """Return True if a text of the candidate contains the needle, which is `folded`; an empty one is in each."""
    if not needle or _cannot_have(candidate.raw, needle):
        return not needle
    return any(needle in folded(text) for text in searched_texts(record_of(candidate)))


def folded(text: str) -> bytes:
    """Return the text as it is compared: ASCII letters in lower case, everything else as it is."""
    return text.encode("utf-8", "surrogatepass").lower()


def _cannot_have(raw: bytes, needle: bytes) -> bool:
    """Return True if the line's bytes already show that it has no such text, which spares reading the record."""
    if not _PLAIN.fullmatch(needle) or _NUMBER.fullmatch(needle):
        return False
    return b"\\u00" not in raw and needle not in raw.lower()


def _binding(query: ListQuery) -> str:
    statuses = sorted(status or "" for status in query.statuses)
    return binding_of([statuses, asdict(query.filter), query.text, query.order.value])
