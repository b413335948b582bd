"""gRPC-Web's framing: a flag, four bytes of length, and a message or the trailers.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from urllib.parse import quote

_PREFIX = struct.Struct(">BI")
_DATA, _TRAILERS = 0x00, 0x80
# What the gRPC specification lets stand in a `grpc-message`; the rest is percent-encoded.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_MOST_SECONDS = 366 * 86_400.0
"""gRPC's clock ends after some centuries, and takes what lies beyond for the past."""
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def message_of(body: bytes) -> bytes:
    """Return the one message of a request's body. Raises ValueError for anything else, and if it is compressed."""
    if len(body) < _PREFIX.size:
        raise ValueError("the body has no message")
    flag, length = _PREFIX.unpack_from(body)
    if flag != _DATA:
        raise ValueError("the message is compressed")
    if len(body) != _PREFIX.size + length:
        raise ValueError("the body must be one whole message")
    return body[_PREFIX.size :]


def data_frame(message: bytes) -> bytes:
    """Return a message of an answer."""
    return _PREFIX.pack(_DATA, len(message)) + message


def trailers_frame(code: int, message: str, metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Return the end of an answer: the status, and the call's trailing metadata."""
    lines = [f"grpc-status: {code}"]
    if message:
        lines.append(f"grpc-message: {quote(message, safe=_PLAIN)}")
    lines += [f"{key}: {_text(value)}" for key, value in metadata]
    encoded = "".join(line + "\r\n" for line in lines).encode("ascii", "replace")
    return _PREFIX.pack(_TRAILERS, len(encoded)) + encoded


def seconds_of(timeout: str) -> float | None:
    """Return a `grpc-timeout` in seconds; None if there is none. Raises ValueError if it is not valid."""
    if not timeout:
        return None
    number, unit = timeout[:-1], timeout[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()) or len(number) > 8:
        raise ValueError(f"the grpc-timeout {timeout!r} is not valid")
    return min(int(number) * _UNITS[unit], _MOST_SECONDS)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else base64.b64encode(value).decode().rstrip("=")
