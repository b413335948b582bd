"""Tokens that continue a list: opaque, versioned, bound to a hash of the request they belong to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import CandidateFilter, Order

VERSION = 1
CHECK_BYTES = 8
NOT_OURS = "is not a token of this service; pass it on unchanged"

Check = Callable[[Any], bool]
Shape = Check | tuple[Check, ...]
"""What a token's state must be: one value, or a list of values."""


def filter_binding(filter: CandidateFilter) -> dict[str, Any]:
    """Return the filter for `binding_of`: tokens of versions without `prompt_digests` stay good."""
    stated = asdict(filter)
    if not filter.prompt_digests:
        del stated["prompt_digests"]
    return stated


def binding_of(request: Any) -> str:
    """Return what binds a token to a request of these JSON values."""
    text = json.dumps(request, sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()


def encode_token(kind: str, binding: str, state: Any) -> str:
    """Return a token of `state` (JSON values) that `decode_token` accepts with the same kind and binding only."""
    payload = json.dumps([VERSION, kind + binding, state], separators=(",", ":")).encode("ascii")
    return base64.urlsafe_b64encode(hashlib.sha256(payload).digest()[:CHECK_BYTES] + payload).decode("ascii")


def decode_token(kind: str, binding: str, token: str, field: str, shape: Shape) -> Any:
    """Return the token's state, which is of the given shape.

    Raises InvalidField for any token that is not of our making.

    It may be damaged, of another version or of another request. The check sum is not a secret, so a forged token
    may pass it. Then its state must still have the shape that we write.
    """
    version, bound, state = _payload(token, field)
    if version != VERSION:
        raise InvalidField(field, "is of another version of the service; start again without it")
    if bound != kind + binding:
        raise InvalidField(field, "belongs to another request; use it with the request that it came from")
    if not _fits(state, shape) or encode_token(kind, binding, state) != token:
        raise InvalidField(field, NOT_OURS)
    return state


def is_count(value: Any) -> bool:
    """Return True for a key, a revision, a number of a page: what a ledger's integer holds, not negative."""
    return type(value) is int and 0 <= value < 1 << 63


def is_page(value: Any) -> bool:
    """Return True for the number of a page, from 1, as the wire holds it."""
    return type(value) is int and 0 < value < 1 << 31


def is_text(value: Any) -> bool:
    """Return True for text that UTF-8 can carry."""
    return type(value) is str and not any("\ud800" <= c <= "\udfff" for c in value)


def is_number(value: Any) -> bool:
    """Return True for a finite floating-point number."""
    return type(value) is float and math.isfinite(value)


def is_text_or_none(value: Any) -> bool:
    """Return True for what an order by text has as the value of a place."""
    return value is None or is_text(value)


def is_number_or_none(value: Any) -> bool:
    """Return True for what an order by a number has as the value of a place."""
    return value is None or is_number(value)


def is_none(value: Any) -> bool:
    """Return True for what the order of first sight has as the value of a place."""
    return value is None


PLACE_VALUE: Mapping[Order, Check] = {
    Order.FILE: is_none,
    Order.QUALITY: is_number_or_none,
    Order.QUALITY_DESC: is_number_or_none,
}
"""The value of a place in each order; text in those that are not named."""


def place_value(order: Order) -> Check:
    """Return what a token of this order may have as the value of its place."""
    return PLACE_VALUE.get(order, is_text_or_none)


def _payload(token: str, field: str) -> list[Any]:
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidField(field, NOT_OURS) from error
    check, payload = data[:CHECK_BYTES], data[CHECK_BYTES:]
    if hashlib.sha256(payload).digest()[:CHECK_BYTES] != check:
        raise InvalidField(field, "is damaged or cut short; pass it on unchanged")
    try:
        stated = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidField(field, NOT_OURS) from error
    if not isinstance(stated, list) or len(stated) != 3 or type(stated[0]) is not int or type(stated[1]) is not str:
        raise InvalidField(field, NOT_OURS)
    return stated


def _fits(state: Any, shape: Shape) -> bool:
    if not isinstance(shape, tuple):
        return shape(state)
    return (
        isinstance(state, list)
        and len(state) == len(shape)
        and all(check(value) for check, value in zip(shape, state, strict=True))
    )
