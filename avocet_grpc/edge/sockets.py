"""The connections of this process as the kernel knows them: how much each has received, and its end."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import urllib.parse
from collections.abc import Iterator

TCP_INFO_BYTES = 136
RECEIVED_AT = 128
"""Where `tcpi_bytes_received` stands in Linux's `struct tcp_info` (linux/tcp.h)."""


def received_bytes() -> dict[str, int]:
    """Return the bytes received so far by the address of the peer, as `peer_key` has it. Empty if not on Linux."""
    found: dict[str, int] = {}
    for key, connection in _connections():
        with contextlib.suppress(OSError):
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            found[key] = struct.unpack_from("=Q", info, RECEIVED_AT)[0]
    return found


def hang_up(peer: str) -> bool:
    """End the connection of gRPC's `peer`, as if the network had. False if there is none over TCP."""
    wanted, found = peer_key(peer), False
    for key, connection in _connections():
        if key == wanted:
            # A descriptor of our own, asked once more: the number may be another connection's by now.
            with contextlib.suppress(OSError, ValueError), connection.dup() as own:
                if _peer_of(own) == wanted:
                    own.shutdown(socket.SHUT_RDWR)
                    found = True
    return found


def is_unix(peer: str) -> bool:
    """Return True for gRPC's name of all peers on a Unix socket."""
    return peer.startswith("unix:")


def peer_key(peer: str) -> str:
    """Return gRPC's name of a peer (`ipv4:127.0.0.1:5`, `ipv6:%5B::1%5D:5`) as the key of `received_bytes`."""
    _, _, address = urllib.parse.unquote(peer).partition(":")
    host, _, port = address.rpartition(":")
    return f"{_plain(host.strip('[]'))} {port}"


def _connections() -> Iterator[tuple[str, socket.socket]]:
    """Give each TCP connection with the key of its peer; it is not ours, and nothing but questions is asked of it."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError, ValueError):
                if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    continue
                asked = socket.socket(fileno=int(name))
                try:
                    if asked.family in (socket.AF_INET, socket.AF_INET6) and asked.type == socket.SOCK_STREAM:
                        yield _peer_of(asked), asked
                finally:
                    asked.detach()


def _peer_of(connection: socket.socket) -> str:
    host, port = connection.getpeername()[:2]
    return f"{_plain(host)} {port}"


def _plain(host: str) -> str:
    return host.removeprefix("::ffff:")
