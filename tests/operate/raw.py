"""HTTP/2 by hand: a client that does what no gRPC library would."""

from __future__ import annotations

import socket
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamReset,
    TrailersReceived,
)

from tests.operate.support import SERVICE
from tests.support import PATIENCE_S


class RawConnection:
    """One connection; the events that the server caused are in `events`."""

    def __init__(self, address: str, settings: dict[int, int] | None = None, source: str = "") -> None:
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(10)
            self.socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            come_from = (source, 0) if source else None
            self.socket = socket.create_connection((host, int(port)), timeout=60, source_address=come_from)
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        if settings:
            self.http.local_settings.update(settings)
        self.http.initiate_connection()
        self.events: list[Event] = []
        self.open = True
        self._rest = b""
        self.flush()

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def settle(self) -> None:
        """Take in the server's settings and acknowledge them: from then on it holds us to them."""
        self.until(SettingsAcknowledged)
        self.http.ping(b"settled?")
        self.flush()
        self.until(PingAckReceived)

    def call(self, method: str, *extra: tuple[str, str], path: str = "") -> int:
        """Send the headers of a call of ours. Gives the stream's id."""
        stream = self.http.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path or f"/{SERVICE}/{method}"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *extra,
        ]
        self.http.send_headers(stream, headers)
        return stream

    def send(self, stream: int, message: bytes, compressed: bool = False, end: bool = True) -> None:
        """Send a message in gRPC's frame, as far as flow control lets it."""
        framed = bytes([compressed]) + len(message).to_bytes(4, "big") + message
        while framed and self.open:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size, len(framed))
            if room == 0:
                self.flush()
                self.receive()
                continue
            self.http.send_data(stream, framed[:room], end_stream=end and room == len(framed))
            framed = framed[room:]
        self.flush()

    def flush(self) -> None:
        """Hand over what waits to be sent."""
        try:
            self.socket.settimeout(10)
            self.socket.sendall(self.http.data_to_send())
        except OSError:
            self.open = False

    def receive(self, timeout: float = 5.0) -> bool:
        """Take in what has come; False where nothing came in time, or the connection has ended."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        if not data:
            self.open = False
            return False
        self._rest += data
        while len(self._rest) >= 9 and len(self._rest) >= (size := 9 + int.from_bytes(self._rest[:3], "big")):
            # h2 takes nothing after a GOAWAY, while the server goes on until the calls have ended.
            if self.is_going_away() is None:
                self.events += self.http.receive_data(self._rest[:size])
            self._rest = self._rest[size:]
        self.flush()
        return True

    def until(self, kind: type[Event], rounds: int = 60) -> Any:
        """The first event of this kind, which must come while something comes."""
        for _ in range(rounds):
            found = [event for event in self.events if isinstance(event, kind)]
            if found:
                return found[0]
            if not self.receive(PATIENCE_S):
                break
        raise AssertionError(f"no {kind.__name__} came; {[type(event).__name__ for event in self.events]}")

    def status(self, stream: int) -> tuple[str, str]:
        """The call's grpc-status and grpc-message, once it has ended; ("reset", "") where it was reset."""
        for _ in range(200):
            for event in self.events:
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, StreamReset):
                    return "reset", ""
                if isinstance(event, TrailersReceived | ResponseReceived):
                    headers: dict[Any, Any] = dict(event.headers or ())
                    if "grpc-status" in headers:
                        return str(headers["grpc-status"]), str(headers.get("grpc-message", ""))
            if not self.receive(PATIENCE_S):
                break
        raise AssertionError(f"the call did not end; {[type(event).__name__ for event in self.events]}")

    def is_going_away(self) -> ConnectionTerminated | None:
        """The server's GOAWAY, if it has come."""
        return next((event for event in self.events if isinstance(event, ConnectionTerminated)), None)

    def received_bytes(self) -> int:
        """How many bytes of messages have come."""
        return sum(len(event.data or b"") for event in self.events if isinstance(event, DataReceived))
