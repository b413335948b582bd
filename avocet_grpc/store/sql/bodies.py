"""The lines of the records that a page has, read no further than a page holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avocet_grpc.core.model import PAGE_BYTES
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among


class Body(NamedTuple):
    """A record's line as the page needs it."""

    key: int
    raw: bytes
    revision: int


class _Size(NamedTuple):
    key: int
    size: int


def bodies_until_full(session: Session, keys: Sequence[int]) -> Mapping[int, Body]:
    """Return the bodies of the first of these keys, up to the one with which they have PAGE_BYTES; at least two."""
    if not keys:
        return {}
    # Asked by way of the records, each body is found by its key, whatever the statistics say.
    tables = f"FROM records r{session.dialect.scan} CROSS JOIN bodies b"
    where, values = among("r.key", keys)
    # A line's length is known without reading the line.
    lengths = f"SELECT r.key, length(b.raw) AS size {tables} WHERE {where} AND b.key = r.key"
    sizes = {row.key: row.size for row in session.all(_Size, lengths, values)}
    where, values = among("r.key", _first(keys, sizes))
    lines = f"SELECT r.key, b.raw, r.revision {tables} WHERE {where} AND b.key = r.key"
    return {body.key: body for body in session.all(Body, lines, values)}


def _first(keys: Sequence[int], sizes: Mapping[int, int]) -> Sequence[int]:
    total = 0
    for count, key in enumerate(keys, 1):
        total += sizes[key]
        if total > PAGE_BYTES and count > 1:
            return keys[:count]
    return keys
