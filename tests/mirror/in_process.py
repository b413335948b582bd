"""The ledger and the mirror on real files, without gRPC and without time: rounds are driven one by one.

A crash drops the objects. It can be armed to come at the n-th thing that the mirror does to the disk or the ledger,
after which nothing of the mirror's reaches them any more.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.ports.ledger import Transaction
from avocet_grpc.core.ports.mirror import FileReport, Outcome
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.layout import DataDirectory
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk, Stat
from avocet_grpc.mirror.fs.lease import ignore_sigio
from avocet_grpc.mirror.mirror import Mirror
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode
from tests.support import Json


class Crash(BaseException):
    """The process died here."""


class SteppedClock(Clock):
    """It moves on only when it is told to, or by sleeping. `stepped` is how far the wall clock was set on."""

    def __init__(self) -> None:
        self.passed = self.stepped = 0.0
        self._started = time.time()

    def now(self) -> float:
        return self._started + self.passed + self.stepped

    def monotonic(self) -> float:
        return 1_000.0 + self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


class CrashingDisk(Disk):
    """The real disk. `left` counts down to the crash; None: there is none.

    With a clock, files have its time: that at which they were first seen to be as they are.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.crashed = False
        self.clock: Clock | None = None
        self._times: dict[tuple[int, int], int] = {}

    def _at_its_time(self, found: Stat) -> Stat:
        if self.clock is None:
            return found
        at = self._times.setdefault((found.inode, found.mtime_ns), int(self.clock.now() * 1e9))
        return found._replace(mtime_ns=at)

    def stat(self, path: Path) -> Stat | None:
        found = super().stat(path)
        return None if found is None else self._at_its_time(found)

    def fstat(self, descriptor: int) -> Stat:
        return self._at_its_time(super().fstat(descriptor))

    def tick(self) -> None:
        """Something is about to happen to the disk."""
        if self.crashed:
            raise Crash
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.crashed = True
                raise Crash

    def append(self, descriptor: int, data: bytes) -> int:
        self.tick()
        return super().append(descriptor, data)

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        self.tick()
        return super().write(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        self.tick()
        super().sync(descriptor)

    def sync_directory(self, path: Path) -> None:
        self.tick()
        super().sync_directory(path)

    def truncate(self, descriptor: int, size: int) -> None:
        self.tick()
        super().truncate(descriptor, size)

    def copy(self, source: int, start: int, target: int, at: int, count: int) -> int:
        self.tick()
        return super().copy(source, start, target, at, count)

    def rename(self, path: Path, to: Path) -> None:
        self.tick()
        super().rename(path, to)

    def link(self, path: Path, to: Path) -> None:
        self.tick()
        super().link(path, to)

    def exchange(self, one: Path, other: Path) -> bool:
        self.tick()
        return super().exchange(one, other)

    def unlink(self, path: Path) -> None:
        self.tick()
        super().unlink(path)


class Quicker(CrashingDisk):
    """Another program appends `line` just before our next append to the file."""

    line = b""

    def append(self, descriptor: int, data: bytes) -> int:
        line, self.line = self.line, b""
        if line:
            super().append(descriptor, line)
        return super().append(descriptor, data)


class CrashingLedger:
    """The ledger as the mirror sees it; the crash may come before or after each command.

    `fails` says with what error a command fails that has this text in one of its lines or ids.
    """

    def __init__(self, ledger: Any, disk: CrashingDisk, fails: Callable[[bytes], None] = lambda text: None) -> None:
        self._ledger, self._disk, self._fails = ledger, disk, fails

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        return self._counted(found) if name in ("take_in", "accept_edits", "accept_deletions", "respell") else found

    def adopt(self, epoch: int, file: File, lines: Iterable[ParsedLine]) -> Iterator[Outcome]:
        self._disk.tick()
        yield from self._ledger.adopt(epoch, file, self._checked(lines))
        self._disk.tick()

    def _checked(self, lines: Iterable[ParsedLine]) -> Iterator[ParsedLine]:
        for line in lines:
            self._fails(line.raw)
            yield line

    def set_report(self, epoch: int, file: File, report: FileReport) -> None:
        if not self._disk.crashed:
            self._ledger.set_report(epoch, file, report)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            self._disk.tick()
            self._fails(repr(arguments[2]).encode())
            made = call(*arguments, **named)
            self._disk.tick()
            return made

        return wrapper


class InProcess:
    """The service below its edge on `data`, between `open` and `crash` or `stop`."""

    def __init__(self, data: Path, clock: SteppedClock, disk: CrashingDisk) -> None:
        self.data, self._clock, self._disk = data, clock, disk
        self.running = False
        self.fails_at = b""
        """The ledger fails with `fails_with` at each line or id that has this text in it; at none if it is empty."""
        self.fails_with: type[Exception] = KeyError
        disk.clock = clock
        ignore_sigio()

    def open(self) -> None:
        """Start. Raises Crash if one is armed."""
        self._disk.crashed = False
        self.ledger = SqliteLedger(DataDirectory(self.data), encode)
        self.running = True
        ledger = CrashingLedger(self.ledger.mirror(), self._disk, self._fail)
        self.mirror = Mirror(ledger, self.data, self._disk, self._clock)
        self.mirror.adopt()

    def _fail(self, text: bytes) -> None:
        if self.fails_at and self.fails_at in text:
            raise self.fails_with("made by the test")

    def crash(self) -> None:
        """What was not on the disk is gone, and every lock and lease with it."""
        self.running = False
        self._disk.left, self._disk.crashed = None, False
        self.mirror.close()
        self.ledger.close()

    def round(self) -> bool:
        """One look at both files and one writing of them. True if nothing is left to do. Raises what goes wrong."""
        level = all([one.round() for one in self.mirror._files.values()])
        self.mirror._report(clean=False, force=False)
        return level

    def stop(self) -> bool:
        """A clean stop. True if it exits 0."""
        done = self.mirror.stop(60.0)
        self.running = False
        self.ledger.close()
        return done

    def do(self, work: Callable[[Transaction], Any]) -> Any:
        """One acknowledged change, or what it raises."""
        return self.ledger.write(work).result()

    def ask(self, work: Callable[[TeamReader], Any]) -> Any:
        return self.ledger.read(work)

    def served(self, id: str, file: File = File.CANDIDATES) -> Json | None:
        """The record as the ledger has it, None if it has none."""
        with self.ledger.mirror().view() as view:
            found = view.changed(file, [id]).get(id)
        return None if found is None or found.raw is None else json.loads(found.raw)

    def actions(self, id: str) -> Sequence[str]:
        """What the history says was done to the record, newest first."""
        return [entry.action for entry in self.ask(lambda reader: reader.history(id))]

    def wait(self, seconds: float) -> None:
        for path in (*self.data.glob("*.jsonl"), *self.data.glob(".*.displaced")):
            self._disk.stat(path)
        self._clock.sleep(seconds)

    def come_to_rest(self) -> None:
        """Rounds until nothing is left to do."""
        for _ in range(500):
            if self.round():
                return
            self.wait(0.1)
        raise AssertionError("it does not come to rest")


@contextlib.contextmanager
def opened(data: Path, clock: SteppedClock | None = None, disk: CrashingDisk | None = None) -> Iterator[InProcess]:
    """A service that is open and level; it is closed at the end."""
    service = InProcess(data, clock or SteppedClock(), disk or CrashingDisk())
    service.open()
    service.come_to_rest()
    try:
        yield service
    finally:
        if service.running:
            service.crash()
