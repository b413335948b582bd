"""The core's blocking ports for the event loop: reads in a bounded pool of threads, writes as awaitables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from avocet_grpc.core.errors import Overloaded
from avocet_grpc.core.ports import ConfigFile, Reader, Runs, Store, Transaction

T = TypeVar("T")

THREADS = 8
WAITING = 2_000


class Backend:
    """What the servicer works with: the ledger, the benchmark runs and the config file."""

    def __init__(self, store: Store, runs: Runs, config: ConfigFile) -> None:
        self.runs = runs
        self.config = config
        self._store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
        self._waiting = 0

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on one consistent view of the ledger. Raises what it raises, Overloaded or StorageFailed."""
        return await self.run(lambda: self._store.read(work))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` as one change, and return once it is durable. Raises what it raises and what the store does."""
        return await self.queue_write(work)

    def queue_write(self, work: Callable[[Transaction], T]) -> asyncio.Future[T]:
        """Queue a change at once, and await it later. A call that is cancelled may have made its change or not."""
        return asyncio.wrap_future(self._store.write(work))

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in the pool. Raises Overloaded where too much waits."""
        if self._waiting >= WAITING:
            raise Overloaded("too many calls wait")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
