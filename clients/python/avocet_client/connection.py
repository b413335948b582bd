"""How a client reaches the service: address or channel, TLS, token, and the channel's options."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from avocet_client.service_config import channel_service_config

Options = tuple[tuple[str, Any], ...]
Metadata = Sequence[tuple[str, str | bytes]]
"""What a call carries beside its request: keys in lower case; a key that ends in `-bin` has bytes."""

MOST_PORT = 65_535
_PORT = re.compile(r":(\d+)$")

KEEPALIVE_SECONDS = 60
KEEPALIVE_TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS to the server, each part in PEM. Without `root_certificates` gRPC's own list of authorities counts.

    `certificate_chain` and `private_key` are the client's, for a server that asks for one.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = None

    @classmethod
    def from_files(cls, *, roots: str = "", certificate: str = "", key: str = "") -> Tls:
        """Return the same from files.

        Raises OSError if one cannot be read, and ValueError if one does not hold what it is for: gRPC would only say
        that it cannot connect.
        """
        read = [Path(path).expanduser().read_bytes() if path else None for path in (roots, certificate, key)]
        if read[0] is not None and not _holds_certificates(read[0]):
            raise ValueError(f"{roots} holds no CA certificates in PEM")
        for content, path, what in ((read[1], certificate, b"CERTIFICATE"), (read[2], key, b"PRIVATE KEY")):
            if content is not None and what + b"-----" not in content:
                raise ValueError(f"{path} holds no {what.decode().lower()} in PEM")
        return cls(root_certificates=read[0], certificate_chain=read[1], private_key=read[2])

    def __repr__(self) -> str:
        return "Tls(...)"  # a key belongs in no log

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a secure channel.

        Raises ValueError if the client's key or certificate is missing.
        """
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("a client certificate needs its private key, and the key its certificate")
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


def _holds_certificates(content: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        return False
    return True


LARGEST_REQUEST_BYTES = 17 << 20
"""More than the 16 MB that the service takes, so that a request of any size is kept for another try."""


def channel_options() -> Options:
    """Return the options of this client's channels, for those who make a channel themselves.

    Retries as in `service_config.json`, and of writes that carry a request id; answers of any size; a keepalive that
    notices a dead peer within KEEPALIVE_SECONDS + KEEPALIVE_TIMEOUT_SECONDS, while a call is under way.
    """
    return (
        ("grpc.service_config", channel_service_config()),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # A request that is larger than gRPC keeps is not tried again.
        ("grpc.per_rpc_retry_buffer_size", LARGEST_REQUEST_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1_000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1_000),
        # A ping of gRPC's own that is under way stands in for the keepalive's, and would be waited for a minute.
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1_000),
        ("grpc.http2.max_pings_without_data", 0),
        # A restarted server is found again within seconds, not after gRPC's two minutes.
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
    )


@dataclass(frozen=True, slots=True)
class Connection:
    """An address and how to reach it; what a client needs to connect again in another process."""

    address: str
    token: str = ""
    tls: Tls | None = None
    options: Options = ()

    def __post_init__(self) -> None:
        """Raise ValueError for an address or a token that no call could use."""
        if not self.address.strip():
            raise ValueError("the address is empty; it is HOST:PORT, or unix:PATH")
        port = _PORT.search(self.address)
        if port and not self.address.startswith("unix") and int(port[1]) > MOST_PORT:
            raise ValueError(f"the address {self.address} has port {port[1]}; the largest port is {MOST_PORT}")
        call_metadata(self.token)

    def __repr__(self) -> str:
        return f"Connection({self.address!r})"

    def channel(self) -> grpc.Channel:
        """Return a new channel, for sync calls."""
        if self.tls is None:
            return grpc.insecure_channel(self.address, self._options())
        return grpc.secure_channel(self.address, self.tls.credentials(), self._options())

    def aio_channel(self) -> grpc.aio.Channel:
        """Return a new channel, for async calls."""
        if self.tls is None:
            return grpc.aio.insecure_channel(self.address, self._options())
        return grpc.aio.secure_channel(self.address, self.tls.credentials(), self._options())

    def _options(self) -> Options:
        # What the caller states wins: gRPC would take the first of two.
        stated = {name for name, _ in self.options}
        return self.options + tuple(option for option in channel_options() if option[0] not in stated)


def call_metadata(token: str) -> tuple[tuple[str, str], ...]:
    """Return what every call carries beside its request. Raises ValueError for a token that no header can hold."""
    if not (token.isascii() and token.isprintable()):
        # The token itself is in no message.
        raise ValueError("the token has a character that no header can hold, such as the end of a line or an accent")
    return (("authorization", f"Bearer {token}"),) if token else ()
