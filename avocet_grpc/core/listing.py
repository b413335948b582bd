"""Candidates of any status, page by page, and the search for a text in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from avocet_grpc.core.forms import searched_texts
from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.record import record_of
from avocet_grpc.core.tokens import binding_of, decode_token, encode_token, is_count, place_value

SCANNED = 10_000
"""Candidates that one page looks at before it ends short."""
CHUNK = 100
"""Candidates that are read at once: each may have megabytes."""
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


def scan(reader: TeamReader, query: ListQuery) -> Iterator[tuple[Position, Candidate | None]]:
    """Yield what the page looks at, in order: each place, and the candidate there if it matches.

    It ends at the last candidate; the reader must stop after SCANNED places. Raises InvalidField for a token of
    another request.
    """
    after = None
    if query.page_token:
        shape = (place_value(query.order), is_count)
        after = Position(*decode_token("list", _binding(query), query.page_token, "page_token", shape))
    left = SCANNED
    needle = folded(query.text)
    while True:
        looked = reader.listing.look(query.statuses, query.filter, query.order, after, CHUNK, left)
        for item in looked.found:
            yield item.position, item.candidate if has_text(item.candidate, needle) else None
        if looked.ended_at is None:
            return
        after = looked.ended_at
        if not looked.found or looked.found[-1].position != after:
            yield after, None


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
