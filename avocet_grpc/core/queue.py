"""A page of the queue, by token or by number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from avocet_grpc.core.model import CandidateFilter, Order, Position, QueueItem, is_full
from avocet_grpc.core.ports.claims import ANY, ClaimState, HeldBy
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.tokens import (
    binding_of,
    decode_token,
    encode_token,
    filter_binding,
    is_count,
    is_page,
    place_value,
)


@dataclass(frozen=True, slots=True)
class QueuePage:
    """One page of the queue; `more` tells whether items follow it."""

    items: list[QueueItem]
    total: int
    page: int
    per_page: int
    more: bool


def queue_page(
    reader: TeamReader,
    filter: CandidateFilter,
    order: Order,
    page: int,
    per_page: int,
    page_token: str,
    held: HeldBy = ANY,
) -> QueuePage:
    """Return a page of candidates in review, by token or by number. Raises InvalidField for a bad token."""
    after, offset = None, (page - 1) * per_page
    if page_token:
        shape = (place_value(order), is_count, is_page)
        value, key, page = decode_token("queue", _binding(filter, order, held), page_token, "page_token", shape)
        after, offset = Position(value, key), 0
    if held.state is ClaimState.ANY:
        found, total = reader.queue(filter, order, after, offset, per_page + 1), reader.queue_total(filter)
    else:
        found = reader.claims.queue(held, filter, order, after, offset, per_page + 1)
        total = reader.claims.queue_total(held, filter)
    items = found[:-1] if is_full(found) else found[:per_page]
    return QueuePage(items, total, page, per_page, len(found) > len(items))


def queue_token(
    filter: CandidateFilter, order: Order, position: Position, next_page: int = 1, held: HeldBy = ANY
) -> str:
    """Return the token that continues after `position`."""
    return encode_token("queue", _binding(filter, order, held), [position.value, position.key, next_page])


@lru_cache(maxsize=64)
def _binding(filter: CandidateFilter, order: Order, held: HeldBy) -> str:
    claims = [] if held == ANY else [held.state.value, held.reviewer]
    return binding_of([filter_binding(filter), order.value, *claims])
