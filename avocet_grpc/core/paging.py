"""Tokens that continue a list: opaque, versioned, bound to a hash of the request they belong to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import CandidateFilter, Order, Position, QueueItem
from avocet_grpc.core.ports import Reader, Runs

VERSION = 1
CHECK_BYTES = 8


@dataclass(frozen=True, slots=True)
class QueuePage:
    """One page of the queue; `more` tells whether items follow it."""

    items: list[QueueItem]
    total: int
    page: int
    per_page: int
    more: bool


def binding_of(request: Any) -> str:
    """What binds a token to a request of these JSON values."""
    text = json.dumps(request, sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()


def encode_token(kind: str, binding: str, state: Any) -> str:
    """A token of `state` (JSON values) that `decode_token` accepts with the same kind and binding only."""
    payload = json.dumps([VERSION, kind + binding, state], separators=(",", ":")).encode("ascii")
    return base64.urlsafe_b64encode(hashlib.sha256(payload).digest()[:CHECK_BYTES] + payload).decode("ascii")


def decode_token(kind: str, binding: str, token: str, field: str) -> Any:
    """The token's state. Raises InvalidField for one that is damaged, of another version, or of another request."""
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidField(field, "is not a token of this service; pass it on unchanged") from error
    check, payload = data[:CHECK_BYTES], data[CHECK_BYTES:]
    if hashlib.sha256(payload).digest()[:CHECK_BYTES] != check:
        raise InvalidField(field, "is damaged or cut short; pass it on unchanged")
    version, bound, state = json.loads(payload)
    if version != VERSION:
        raise InvalidField(field, "is of another version of the service; start again without it")
    if bound != kind + binding:
        raise InvalidField(field, "belongs to another request; use it with the request that it came from")
    return state


def queue_page(
    reader: Reader, filter: CandidateFilter, order: Order, page: int, per_page: int, page_token: str
) -> QueuePage:
    """A page of candidates in review, by token or by number. Raises InvalidField for a bad token."""
    after, offset = None, (page - 1) * per_page
    if page_token:
        value, key, page = decode_token("queue", _binding(filter, order), page_token, "page_token")
        after, offset = Position(value, key), 0
    items = reader.queue(filter, order, after, offset, per_page + 1)
    return QueuePage(items[:per_page], reader.queue_total(filter), page, per_page, len(items) > per_page)


def queue_token(filter: CandidateFilter, order: Order, position: Position, next_page: int = 1) -> str:
    """The token that continues after `position`."""
    return encode_token("queue", _binding(filter, order), [position.value, position.key, next_page])


def runs_page(runs: Runs, page_size: int, page_token: str) -> tuple[list[str], str]:
    """Names of one page of runs, newest name first, and the next token (empty at the end)."""
    names = runs.names()
    if page_token:
        last = decode_token("runs", "", page_token, "page_token")
        names = [name for name in names if name < last]
    page = names[:page_size]
    return page, encode_token("runs", "", page[-1]) if len(names) > page_size else ""


@lru_cache(maxsize=64)
def _binding(filter: CandidateFilter, order: Order) -> str:
    return binding_of([asdict(filter), order.value])
