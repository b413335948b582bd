"""A load generator that costs little: prepared HTTP/2 frames over plain sockets, one call at a time on each.

A Python stub spends as much on a call as the server does, and would be what is measured. It knows as much of HTTP/2 as
a unary gRPC call takes; `h2load` is the witness that its figures are right.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
FRAME_HEAD = 9
MAX_FRAME = 16_384
WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535
Metadata = Sequence[tuple[str, str]]


@dataclass
class Load:
    """What one run of calls gave: seconds a call, failed calls, seconds in all."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    elapsed: float = 0.0

    @property
    def rate(self) -> float:
        """Calls a second that were answered."""
        return (len(self.seconds) - self.failed) / self.elapsed if self.elapsed else 0.0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def grpc_body(message: bytes) -> bytes:
    """A message as the body of a gRPC call has it."""
    return b"\0" + struct.pack(">I", len(message)) + message


def header_block(authority: str, method: str, metadata: Metadata) -> bytes:
    """The headers of a call, each as an HPACK literal that no table keeps."""
    headers = [
        (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", authority),
        ("te", "trailers"), ("content-type", "application/grpc"), *metadata,
    ]  # fmt: skip
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)


def _text(value: str) -> bytes:
    assert len(value) < 127
    return bytes((len(value),)) + value.encode("ascii")


class Connection:
    """One caller: a connection with one call under way."""

    def __init__(self, address: str, headers: bytes) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", 4, WINDOW)
        more = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - FIRST_WINDOW))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + more)
        self.started = 0.0
        self._headers = headers
        self._stream = -1
        self._unread = b""
        self._answered = False

    def call(self, message: bytes) -> None:
        """Send the next call."""
        self._stream += 2
        self._answered = False
        body = grpc_body(message)
        assert len(body) <= MAX_FRAME
        self.started = time.perf_counter()
        call = frame(HEADERS, END_HEADERS, self._stream, self._headers) + frame(DATA, END_STREAM, self._stream, body)
        self.socket.sendall(call)

    def read(self) -> bool | None:
        """Take what came: None while the call is under way, else whether it was answered with a message."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the server closed the connection")
        data, at, outcome = self._unread + received, 0, None
        while len(data) - at >= FRAME_HEAD:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < FRAME_HEAD + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            ended = self._take(kind, flags, data[at + FRAME_HEAD : at + FRAME_HEAD + length])
            outcome = self._answered if ended else outcome
            at += FRAME_HEAD + length
        self._unread = data[at:]
        return outcome

    def _take(self, kind: int, flags: int, payload: bytes) -> bool:
        """One frame; True where it ends the call. A refused call ends without any DATA."""
        if kind == DATA:
            self._answered = True
        elif kind == SETTINGS and not flags & ACK:
            self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise ConnectionError("the server goes away")
        elif kind == RST_STREAM:
            self._answered = False
            return True
        return kind == HEADERS and bool(flags & END_STREAM)


def run(
    address: str, method: str, messages: Iterator[bytes], callers: int, seconds: float, metadata: Metadata = ()
) -> Load:
    """`callers` connections that each call again once answered, for `seconds` or until the messages end."""
    headers = header_block(address, method, metadata)
    connections = [Connection(address, headers) for _ in range(callers)]
    load, selector = Load(), selectors.DefaultSelector()
    started = time.perf_counter()
    try:
        for connection in connections:
            if (message := next(messages, None)) is not None:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.call(message)
        while selector.get_map():
            for key, _ in selector.select(timeout=30) or _no_answer():
                _step(key.data, load, messages, selector, started + seconds)
    finally:
        for connection in connections:
            connection.socket.close()
        selector.close()
    load.elapsed = time.perf_counter() - started
    return load


def _step(
    connection: Connection, load: Load, messages: Iterator[bytes], selector: selectors.BaseSelector, deadline: float
) -> None:
    outcome = connection.read()
    if outcome is None:
        return
    now = time.perf_counter()
    load.seconds.append(now - connection.started)
    load.failed += not outcome
    message = next(messages, None) if now < deadline else None
    if message is None:
        selector.unregister(connection.socket)
    else:
        connection.call(message)


def _no_answer() -> list[tuple[selectors.SelectorKey, int]]:
    raise TimeoutError("no answer within 30 s")
