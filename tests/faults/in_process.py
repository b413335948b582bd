"""The ledger and the shared files without gRPC and without time: rounds are driven one by one, and may crash anywhere.

What runs is the real ledger and the real mirror on real files. A crash drops the objects; it can be armed to come at
the n-th thing that the mirror does to the disk or the ledger, after which nothing of its reaches either any more.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.ledger import Reader, Transaction
from avocet_grpc.core.ports.mirror import MirrorLedger
from avocet_grpc.layout import DataDirectory
from avocet_grpc.mirror.fs.clock import Clock as RealClock
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.mirror import Mirror
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.telemetry import failpoints
from tests.ledger_suite import encode

DISK_CALLS = ("append", "write", "sync", "sync_directory", "rename", "exchange", "link", "unlink", "truncate", "copy")
COMMANDS = ("take_over", "take_in", "accept_edits", "accept_deletions", "respell", "set_report")


class Crash(BaseException):
    """The process died here."""


class Clock(RealClock):
    """It moves on only when it is told to, or by sleeping."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._started = time.time()

    def now(self) -> float:
        return self._started + self._passed

    def monotonic(self) -> float:
        return 1_000.0 + self._passed

    def sleep(self, seconds: float) -> None:
        self._passed += seconds

    def date(self, path: Path) -> None:
        """Another program has changed the file now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (self.now(), self.now()))


class CrashingDisk(Disk):
    """The real disk. `left` counts what may still happen to it before the crash; None: there is none."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.crashed = False

    def tick(self) -> None:
        """Something is about to happen to the disk or the ledger."""
        if self.crashed:
            raise Crash
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.crashed = True
                raise Crash


def _counted(name: str) -> Callable[..., Any]:
    def call(self: CrashingDisk, *arguments: Any) -> Any:
        self.tick()
        return getattr(super(CrashingDisk, self), name)(*arguments)

    return call


for _name in DISK_CALLS:
    setattr(CrashingDisk, _name, _counted(_name))


class CrashingLedger:
    """The ledger as the mirror sees it; the crash may come before a command and after it."""

    def __init__(self, ledger: MirrorLedger, disk: CrashingDisk) -> None:
        self._ledger, self._disk = ledger, disk
        self.commands: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        return partial(self._call, name, found) if name in COMMANDS else found

    def adopt(self, *arguments: Any) -> Iterator[Any]:
        """See the port."""
        self._disk.tick()
        yield from self._ledger.adopt(*arguments)
        self._disk.tick()

    def _call(self, name: str, command: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._disk.tick()
        self.commands.append(name)
        answer = command(*arguments, **named)
        self._disk.tick()
        return answer


@contextlib.contextmanager
def crashing_at_failpoints(disk: CrashingDisk) -> Iterator[None]:
    """Within, the crash may come at each failpoint of the mirror too."""
    hit = failpoints.hit

    def tick(name: str) -> None:
        if not name.startswith("commit"):
            disk.tick()

    failpoints.hit = tick
    try:
        yield
    finally:
        failpoints.hit = hit


class InProcess:
    """The service below its edge on `data`, between `open` and `crash` or `stop`."""

    def __init__(self, data: Path, clock: Clock, disk: CrashingDisk) -> None:
        self.data, self._clock, self._disk = data, clock, disk
        self.running = False
        self.commits = 0

    def open(self) -> None:
        """Start. Raises Crash if one is armed."""
        self._disk.crashed = False
        self.ledger = SqliteLedger(DataDirectory(self.data), encode, clock=self._clock.now)
        self.ledger.on_commit(self._count)
        self.running = True
        self.crashing = CrashingLedger(self.ledger.mirror(), self._disk)
        self.mirror = Mirror(cast(MirrorLedger, self.crashing), self.data, self._disk, self._clock)
        self.mirror.adopt()

    def _count(self) -> None:
        self.commits += 1

    def crash(self) -> None:
        """What was not on the disk is gone, and every lock and lease with it."""
        self.running = False
        self._disk.left, self._disk.crashed = None, False
        self.mirror.close()
        self.ledger.close()

    def round(self) -> bool:
        """One look at both files and one writing of them. True if nothing is left to do."""
        return self.mirror.round()

    def stop(self) -> bool:
        """A clean stop. True if it exits 0."""
        done = self.mirror.stop(60.0)
        self.running = False
        self.ledger.close()
        return done

    def do(self, work: Callable[[Transaction], Any]) -> Any:
        """One acknowledged change, or what it raises."""
        return self.ledger.write(work).result()

    def ask(self, work: Callable[[Reader], Any]) -> Any:
        return self.ledger.read(work)

    def wait(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def compact(self, file: File) -> None:
        """As in a quiet moment."""
        self.mirror._files[file]._compact()
