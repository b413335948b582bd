"""A connection that ends if its server takes what is sent and never answers.

A machine that stands still acknowledges every byte, and so does a proxy that has lost its server. The kernel's own time
limits do not notice either. A long statement is silent too, and must go on. So a connection that has heard nothing for
a while tries to make another one to the same server, and ends only if nobody answers there.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo

T = TypeVar("T")

SILENT_S = 5.0
"""After so long without a byte the server is asked whether it is there."""
ANSWERS_WITHIN_S = 3


class HeedfulConnection(psycopg.Connection[tuple[Any, ...]]):
    """Raises psycopg.OperationalError once its server has fallen silent, as if the server had closed it."""

    def wait(self, gen: PQGen[T], *rest: Any, **more: Any) -> T:
        """Every statement waits for its answer here."""
        return super().wait(self._heeded(gen), *rest, **more)

    def _heeded(self, gen: PQGen[T]) -> Generator[Any, Any, T]:
        heard_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                # The driver sends a 0 several times a second while there is nothing to read.
                if ready := (yield wanted):
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > SILENT_S:
                    if not self._answers():
                        self._hang_up()
                    heard_at = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            gen.close()

    def _answers(self) -> bool:
        """Return whether anything answers where this connection leads to, be it a refusal."""
        here = self.info
        place = make_conninfo(
            here.dsn,
            password=here.password,
            host=here.host,
            # The name may lead to another machine by now.
            hostaddr=here.hostaddr or None,
            port=here.port,
            connect_timeout=ANSWERS_WITHIN_S,
        )
        try:
            psycopg.connect(place).close()
        except psycopg.errors.ConnectionTimeout:
            return False
        except psycopg.Error:
            return True
        return True

    def _hang_up(self) -> None:
        with socket.socket(fileno=os.dup(self.fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)
