"""The core's blocking ports for the event loop: reads in a bounded pool of threads, writes as awaitables."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from avocet_grpc.core.errors import Overloaded
from avocet_grpc.core.model import ServerVersion
from avocet_grpc.core.ports.config import ConfigFile
from avocet_grpc.core.ports.exports import ExportBatches, ExportingLedger, ExportReader
from avocet_grpc.core.ports.ledger import Reads
from avocet_grpc.core.ports.runs import Runs
from avocet_grpc.core.ports.search import Search
from avocet_grpc.core.ports.team import TeamReader, TeamTransaction

T = TypeVar("T")
U = TypeVar("U")

READERS = 4
"""Threads that read a ledger of this machine. More of them only take the interpreter's lock from each other."""
REMOTE_READERS = 8
"""Threads that read a ledger behind a network, for which they wait most of the time."""
LONG_THREADS = 2
STREAM_THREADS = 4
WAITING = 2_000


class Backend:
    """What the servicer works with: the ledger, the benchmark runs, the config file, and what the server runs."""

    def __init__(
        self,
        store: ExportingLedger,
        runs: Runs,
        config: ConfigFile,
        version: ServerVersion,
        search: Search | None = None,
        readers: int = READERS,
    ) -> None:
        self.search = search
        self.version = version
        self.runs = runs
        self.config = config
        self._store = store
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="read")
        self._streams = ThreadPoolExecutor(STREAM_THREADS, thread_name_prefix="stream")
        self._long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="files")
        self._waiting = 0
        self._on_commit: list[Callable[[], None]] = []
        self._answers: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._woken = False

    async def read(self, work: Callable[[ExportReader], T]) -> T:
        """Run `work` on one consistent view of the ledger. Raises what it raises, Overloaded or StorageFailed."""
        return await self.run(lambda: self._store.read(work))

    async def write(self, work: Callable[[TeamTransaction], T]) -> T:
        """Run `work` as one change, and return once it is durable. Raises what it raises and what the store does.

        A call that is cancelled may have made its change or not.
        """
        return await self._delivered(self._store.write(work))

    async def write_and_answer(self, work: Callable[[TeamTransaction], T], answer: Callable[[TeamReader, T], U]) -> U:
        """As `write`; `answer` makes of what the work gave what is returned, while the commit goes to the disk.

        It reads the ledger as it was before the change.
        """

        def worked(tx: TeamTransaction) -> Future[U]:
            given = work(tx)
            return self._threads.submit(lambda: self._store.read(lambda reader: answer(reader, given)))

        return await asyncio.wrap_future(await self.write(Reads.within(work, worked)))

    async def write_all(self, works: Sequence[Callable[[TeamTransaction], T]]) -> list[T | Exception]:
        """Run each work as a change of its own; what each gave or raised, once all are durable."""
        return await self._delivered(self._store.write_all(works))

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in the pool. Raises Overloaded if too much waits."""
        if self._waiting >= WAITING:
            raise Overloaded("too many calls wait")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    async def read_for_stream(self, work: Callable[[ExportReader], T]) -> T:
        """As `read`, in threads apart: however many streams there are, no other call waits behind them."""
        return await asyncio.get_running_loop().run_in_executor(self._streams, lambda: self._store.read(work))

    async def read_batches(self, work: Callable[[ExportBatches], T]) -> T:
        """As `read_for_stream`, for a work that asks for batches alone."""
        return await asyncio.get_running_loop().run_in_executor(self._streams, self._store.read_batches, work)

    async def run_long(self, work: Callable[[], T]) -> T:
        """Run work that reads large files apart from what is quick. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._long, work)

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit, also of another process; from any thread, and it must return at once."""
        self._on_commit.append(listener)
        self._store.on_commit(listener)

    def committed_elsewhere(self) -> None:
        """Another process has told of a commit."""
        for listener in self._on_commit:
            listener()

    def _delivered(self, answer: Future[T]) -> asyncio.Future[T]:
        """Return the writer's answer for the event loop, which is woken once for all that one commit answers."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[T] = loop.create_future()

        def answered(done: Future[T]) -> None:
            self._answers.append((waiting, done))
            if not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._deliver)

        answer.add_done_callback(answered)
        return waiting

    def _deliver(self) -> None:
        self._woken = False
        while self._answers:
            waiting, done = self._answers.popleft()
            if waiting.done():
                continue
            if (error := done.exception()) is not None:
                waiting.set_exception(error)
            else:
                waiting.set_result(done.result())

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._streams.shutdown(wait=False, cancel_futures=True)
        self._long.shutdown(wait=False, cancel_futures=True)
