"""Where the server listens, and who can reach it there."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The supervisor has use for addresses, and none for gRPC's memory.
    import grpc

UNIX = "unix:"


class CannotListen(Exception):
    """The address cannot be used; the text is one line for the server's operator."""


@dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT, or the path of a Unix socket. Raises CannotListen if `text` is neither."""

    text: str
    host: str = ""
    port: int = 0
    socket: Path | None = None

    @classmethod
    def parse(cls, text: str, flag: str) -> Address:
        """Return the address that `flag` names. Raises CannotListen."""
        if text.startswith(UNIX) and text != UNIX:
            return cls(text, socket=Path("/" + text.removeprefix("unix:///") if "://" in text else text[len(UNIX) :]))
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise CannotListen(f"{flag} must be HOST:PORT, for example 127.0.0.1:50051, or unix:PATH")
        return cls(text, host.strip("[]"), int(port))

    def is_local(self) -> bool:
        """Return True if only this machine reaches it."""
        if self.socket is not None:
            return True
        try:
            found = socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return False
        return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def bind(server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials | None) -> str:
    """Take the address. Gives it as it is served. Raises CannotListen."""
    if address.socket is not None:
        refuse_if_served(address.socket)
    try:
        if credentials is None:
            bound = server.add_insecure_port(address.text)
        else:
            bound = server.add_secure_port(address.text, credentials)
    except RuntimeError:
        bound = 0
    if not bound:
        reason = "the port is taken, or the host is not this machine's"
        if address.socket is not None:
            reason = "its directory is missing or may not be written, or the path is too long"
        raise CannotListen(f"cannot listen on {address.text}: {reason}")
    if address.socket is not None:
        # Every user who may write the socket may connect.
        address.socket.chmod(0o660)
        return address.text
    return f"{address.text.rpartition(':')[0]}:{bound}"


def refuse_if_served(path: Path) -> None:
    """Raise CannotListen if somebody serves on this socket; gRPC would replace it."""
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise CannotListen(f"cannot listen on {UNIX}{path}: something that is not a socket is there")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
        raise CannotListen(f"cannot listen on {UNIX}{path}: another process serves there")
