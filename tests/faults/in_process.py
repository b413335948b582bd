"""The ledger and the shared files without gRPC and without time: rounds are driven one by one, and may crash anywhere.

What runs is the real SqliteStore and the real Syncer on real files. A crash drops the objects; it can be armed to come
at the n-th thing that the shared files do to the disk, after which nothing of theirs reaches it any more.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from avocet_grpc.core.ports.files import Reader, Transaction
from avocet_grpc.shared_files import syncer as syncer_module
from avocet_grpc.store.files_store import SqliteStore
from avocet_grpc.telemetry import failpoints
from tests.store_suite import encode

DISK_CALLS = ("write", "pwrite", "fsync", "rename", "replace", "link", "unlink", "ftruncate", "copy_file_range")


class Crash(BaseException):
    """The process died here."""


class Clock:
    """Stands for the module `time`: it moves on only when it is told to, or by sleeping. What is measured is real."""

    perf_counter = staticmethod(time.perf_counter)
    thread_time = staticmethod(time.thread_time)

    def __init__(self) -> None:
        self._passed = 0.0
        self._started = time.time()
        self._stamps = 0

    def time(self) -> float:
        return self._started + self._passed

    def time_ns(self) -> int:
        self._stamps += 1
        return int(self.time() * 1e9) + self._stamps

    def monotonic(self) -> float:
        return 1_000.0 + self._passed

    def sleep(self, seconds: float) -> None:
        self._passed += seconds


class CrashingOs:
    """Stands for the module `os` in the shared files. `left` counts down to the crash; None: there is none."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.crashed = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        return self._counted(found) if name in DISK_CALLS else found

    def tick(self) -> None:
        """Something is about to happen to the disk."""
        if self.crashed:
            raise Crash
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.crashed = True
                raise Crash

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            self.tick()
            return call(*arguments, **named)

        return wrapper


@contextlib.contextmanager
def replaced(clock: Clock, disk: CrashingOs) -> Iterator[None]:
    """Within, the shared files and the ledger see this time and this disk."""
    undo: list[tuple[Any, str, Any]] = []

    def put(module: Any, name: str, value: Any) -> None:
        undo.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(("avocet_grpc.shared_files.", "avocet_grpc.store.")):
            if getattr(module, "time", None) is time:
                put(module, "time", clock)
            if getattr(module, "os", None) is os and "shared_files" in module_name:
                put(module, "os", disk)
    put(failpoints, "hit", lambda name: None if name.startswith("commit") else disk.tick())
    try:
        yield
    finally:
        for module, name, value in reversed(undo):
            setattr(module, name, value)


class CrashingStore(SqliteStore):
    """The ledger; the crash may come between a change of the shared files and their noting of it, or after."""

    disk: CrashingOs | None = None

    def write(self, work: Callable[[Transaction], Any]) -> Any:
        if self.disk is None:
            return super().write(work)
        self.disk.tick()
        future = super().write(work)
        future.exception()
        self.disk.tick()
        return future


class InProcess:
    """The service below its edge on `data`, between `open` and `crash` or `stop`."""

    def __init__(self, data: Path, clock: Clock, disk: CrashingOs) -> None:
        self.data, self._clock, self._disk = data, clock, disk
        self.running = False

    def open(self) -> None:
        """Start. Raises Crash where one is armed."""
        private = self.data / ".avocet"
        private.mkdir(parents=True, exist_ok=True)
        self._disk.crashed = False
        self.store = CrashingStore(private / "ledger.db", encode)
        self.running = True
        with self._counting():
            self._syncer = syncer_module.Syncer(self.store, self.data)
            self._syncer.adopt()

    def crash(self) -> None:
        """What was not on the disk is gone, and every lock and lease with it."""
        self.running = False
        self._disk.left, self._disk.crashed = None, False
        self.store.close()

    def round(self) -> bool:
        """One look at both files and one writing of them. True where nothing is left to do."""
        with self._counting():
            return all([mirror.round() for mirror in self._syncer._mirrors])

    def stop(self) -> bool:
        """A clean stop. True where it exits 0."""
        with self._counting():
            done = self._syncer.stop(60.0)
        self.running = False
        self.store.close()
        return done

    def do(self, work: Callable[[Transaction], Any]) -> Any:
        """One acknowledged change, or what it raises."""
        return self.store.write(work).result()

    def ask(self, work: Callable[[Reader], Any]) -> Any:
        return self.store.read(work)

    def wait(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        self.store.disk = self._disk
        try:
            yield
        finally:
            self.store.disk = None
