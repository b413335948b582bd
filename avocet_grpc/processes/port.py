"""The port of the service, held by the supervisor so that its workers may share it and nobody else may.

The supervisor binds the port and never listens on it. A bind beside a socket that listens fails, so that it proves the
port to be free. Only then, and only with several workers, the port is opened to sockets of the same user.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from avocet_grpc.edge.address import Address, CannotListen, refuse_if_served


class Port:
    """An address that was free. Raises CannotListen; `close` gives it up."""

    def __init__(self, address: Address, shared: bool) -> None:
        self._sockets = ExitStack()
        self.address = address.text
        if address.socket is not None:
            if shared:
                raise CannotListen(f"{address.text} takes one worker: a Unix socket cannot be shared")
            refuse_if_served(address.socket)
            return
        try:
            held = self._bind(address)
        except (OSError, UnicodeError) as error:
            self.close()
            raise CannotListen(
                f"cannot listen on {address.text}: the port is taken, or the host is not this machine's"
            ) from error
        for one in held if shared else []:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.address = f"{address.text.rpartition(':')[0]}:{held[0].getsockname()[1]}"

    def _bind(self, address: Address) -> list[socket.socket]:
        """Return a socket for each address of the host. Raises OSError, UnicodeError."""
        port, held = address.port, list[socket.socket]()
        found = socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in dict.fromkeys(found):
            one = self._sockets.enter_context(socket.socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((place[0], port, *place[2:]))
            except OSError as error:
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and (held or len(found) > 1):
                    continue
                raise
            held.append(one)
            port = one.getsockname()[1]
        if not held:
            raise OSError(errno.EADDRNOTAVAIL, "the host has no address of this machine")
        return held

    def close(self) -> None:
        """Let others have the port."""
        self._sockets.close()
