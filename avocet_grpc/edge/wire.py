"""The wire format, where we read or write it ourselves. What a request is held to before it is parsed: its size, its
compression, and how many fields it has.

Parsed, an empty string or message takes some 50 times its two bytes on the wire, so the fields are counted first.
"""

from __future__ import annotations

import zlib
from typing import Any

from avocet_grpc.core.errors import InvalidField

MOST_FIELDS = 20_000
"""Of one request, those of its parts included; 1,000 items of a stream have some 7,000."""
SMALLEST_FIELD = 2
GZIP = b"\x1f\x8b"
"""How gzip begins, and no message does: it would be a field of a wire type that does not exist."""
LENGTH_DELIMITED = 2
ONE_BYTE = [bytes([value]) for value in range(0x80)]
SIZES = {1: 8, 5: 4}


def is_compressed(raw: bytes) -> bool:
    """Return True if gRPC has handed over a compressed message."""
    return raw.startswith(GZIP)


def size_within(raw: bytes) -> int:
    """Return how many bytes a gzip says that it holds, which `decompressed` holds it to (RFC 1952: ISIZE)."""
    return int.from_bytes(raw[-4:], "little")


def decompressed(raw: bytes, size: int) -> bytes:
    """Undo gzip. Raises InvalidField if it is damaged or does not hold `size` bytes; no more than those are made."""
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        data = inflate.decompress(raw, size + 1)
    except zlib.error:
        data = b""
    if not inflate.eof or len(data) != size:
        raise InvalidField("request", "is not valid gzip: damaged, cut short, or of several parts")
    return data


def refuse_if_longer(size: int, most: int) -> None:
    """Raises InvalidField for a request of more than `most` bytes."""
    if size > most:
        raise InvalidField("request", f"must have at most {most:,} bytes; split it, or narrow what it asks for")


def may_have_many_fields(raw: bytes) -> bool:
    """Return False for what is so short that it cannot have more than MOST_FIELDS."""
    return len(raw) > MOST_FIELDS * SMALLEST_FIELD


def refuse_many_fields(raw: bytes, descriptor: Any) -> None:
    """Raises InvalidField if a message of this type has more than MOST_FIELDS fields, counted along its lengths.

    What is not valid on the wire ends the count: the parser refuses it.
    """
    # Recursion is bounded by the types: each level is a field of another message type of ours.
    if _count(raw, 0, len(raw), descriptor, 0) > MOST_FIELDS:
        raise InvalidField("request", f"must have at most {MOST_FIELDS:,} values; split it")


def _count(raw: bytes, at: int, end: int, descriptor: Any, count: int) -> int:
    fields = descriptor.fields_by_number if descriptor is not None else {}
    while at < end and count <= MOST_FIELDS:
        count += 1
        tag, at = _varint(raw, at, end)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(raw, at, end)
        elif kind in SIZES:
            at += SIZES[kind]
        elif kind == LENGTH_DELIMITED:
            size, at = _varint(raw, at, end)
            if size > end - at:
                return count
            field = fields.get(tag >> 3)
            if field is not None and field.message_type is not None:
                count = _count(raw, at, at + size, field.message_type, count)
            elif field is not None and field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
                # Packed numbers: one byte may be one of them.
                count += size
            at += size
        elif kind > 5:
            return count
    return count


def length_delimited(number: int, payload: bytes) -> bytes:
    """Return a field of this number that holds a message or bytes."""
    return prefix(number, len(payload)) + payload


def prefix(number: int, length: int) -> bytes:
    """Return what stands before a field of this number that holds so many bytes."""
    return _encoded_varint(number << 3 | LENGTH_DELIMITED) + _encoded_varint(length)


def _encoded_varint(value: int) -> bytes:
    if value <= 0x7F:
        return ONE_BYTE[value]
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            break
        shift += 7
    return value, at
