"""One face for both clients, so that a test is written once, and a proxy that loses answers on the way."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from avocet_client import AsyncCorrectionsClient, AsyncHold, TransportError
from tests.support import eventually

READ = 65_536


class Blocking:
    """An `AsyncCorrectionsClient` that a test calls as it calls the sync one. Its event loop runs in a thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = self._run(_made(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            made = getattr(self._client, name)(*args, **kwargs)
            if inspect.isawaitable(made):
                return self._run(made)
            return BlockingHold(made, self._run) if isinstance(made, AsyncHold) else BlockingIterator(made, self._run)

        return call

    def close(self) -> None:
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, awaitable: Any) -> Any:
        value, error = asyncio.run_coroutine_threadsafe(_outcome(awaitable), self._loop).result()
        if error is not None:
            raise error
        return value


async def _outcome(awaitable: Any) -> tuple[Any, BaseException | None]:
    """What it gave or raised. Some errors would end the event loop (KeyboardInterrupt), others no future can carry."""
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


def wait_for(client: Any) -> None:
    """Wait until the client has found its server again."""

    def answers() -> bool:
        try:
            return bool(client.health() == "serving")
        except TransportError:
            return False

    eventually(answers)


class BlockingIterator:
    """An async iterator, with what else it has, as a plain one."""

    def __init__(self, iterator: Any, run: Callable[[Any], Any]) -> None:
        self._iterator = iterator
        self._run = run

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._run(anext(self._iterator))
        except StopAsyncIteration:
            raise StopIteration from None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._iterator, name)
        if inspect.isasyncgenfunction(found):
            return lambda: BlockingIterator(found(), self._run)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *args, **kwargs: self._run(found(*args, **kwargs))


class BlockingHold:
    """An `AsyncHold` as a plain context manager; its claims' `submit` is called, not awaited."""

    def __init__(self, hold: Any, run: Callable[[Any], Any]) -> None:
        self._hold = hold
        self._run = run

    def __enter__(self) -> BlockingHold:
        self._run(self._hold.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._run(self._hold.__aexit__(*error))

    def __len__(self) -> int:
        return len(self._hold)

    def __getitem__(self, index: int) -> Any:
        return BlockingIterator(self._hold[index], self._run)

    @property
    def lost(self) -> list[Any]:
        return [BlockingIterator(claim, self._run) for claim in self._hold.lost]


async def _made(*args: Any, **kwargs: Any) -> AsyncCorrectionsClient:
    return AsyncCorrectionsClient(*args, **kwargs)


class Proxy:
    """A TCP proxy to a server, which loses answers or falls silent when it is told to."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.lost = 0
        self._lose = 0
        self._silent = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answers(self, count: int, longer_than: int = 60) -> None:
        """Cut the connection in place of passing on each of the next `count` chunks of answer.

        A chunk no longer than `longer_than` bytes is HTTP/2's own (settings, acknowledgements), and passes.
        """
        self._longer_than = longer_than
        self._lose = count

    def fall_silent(self) -> None:
        """Keep every connection open and pass nothing on, as a machine does that lost its power."""
        self._silent.set()

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            host, _, port = self.target.rpartition(":")
            try:
                server = socket.create_connection((host, int(port)))
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, READ)
            self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(READ):
                if self._silent.is_set():
                    continue
                if answers and self._lose and len(data) > self._longer_than:
                    self._lose -= 1
                    self.lost += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
