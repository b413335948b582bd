"""A TCP proxy in front of a database that loses the answer to a COMMIT, or the COMMIT itself."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

COMMIT, LOCK = b"COMMIT", b"FOR UPDATE"


class CuttingProxy:
    """Passes on what comes. Once `cut_before` or `cut_after` is set, the next COMMIT of a writer ends its connection.

    A writer's connection is one that has locked the head.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.cut_before, self.cut_after = threading.Event(), threading.Event()
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                silent = threading.Event()
                threading.Thread(target=self._up, args=(client, server, silent), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server, silent), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        writes = False
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                writes = writes or LOCK in data
                commits = writes and COMMIT in data
                if commits and self._taken(self.cut_before):
                    break
                if commits and self._taken(self.cut_after):
                    silent.set()
                    server.sendall(data)
                    time.sleep(0.3)
                    break
                server.sendall(data)
        _end(client, server)

    def _down(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if not silent.is_set():
                    client.sendall(data)
        _end(client, server)

    def _taken(self, cut: threading.Event) -> bool:
        if not cut.is_set():
            return False
        cut.clear()
        self.cuts += 1
        return True


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
