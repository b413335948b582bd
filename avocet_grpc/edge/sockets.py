"""How many bytes each connection of this process has received, as the kernel counts them."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import urllib.parse

TCP_INFO_BYTES = 136
RECEIVED_AT = 128
"""Where `tcpi_bytes_received` stands in Linux's `struct tcp_info` (linux/tcp.h)."""


def received_bytes() -> dict[str, int]:
    """Return the bytes received so far by the address of the peer, as `peer_key` has it. Empty if not on Linux."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError, ValueError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    _look(int(name), found)
    return found


def peer_key(peer: str) -> str:
    """Return gRPC's name of a peer (`ipv4:127.0.0.1:5`, `ipv6:%5B::1%5D:5`) as the key of `received_bytes`."""
    _, _, address = urllib.parse.unquote(peer).partition(":")
    host, _, port = address.rpartition(":")
    return f"{_plain(host.strip('[]'))} {port}"


def _look(descriptor: int, found: dict[str, int]) -> None:
    # The number may be another socket's by now, so nothing but questions is asked of it.
    asked = socket.socket(fileno=descriptor)
    try:
        if asked.family in (socket.AF_INET, socket.AF_INET6) and asked.type == socket.SOCK_STREAM:
            host, port = asked.getpeername()[:2]
            info = asked.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            found[f"{_plain(host)} {port}"] = struct.unpack_from("=Q", info, RECEIVED_AT)[0]
    finally:
        asked.detach()


def _plain(host: str) -> str:
    return host.removeprefix("::ffff:")
