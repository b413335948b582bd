"""Files that replacements moved aside: a program that had one open may write to it, so none is deleted unread."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.displaced.file import Displaced, end_digest
from avocet_grpc.mirror.displaced.late import Versions, take_late, take_whole
from avocet_grpc.mirror.fs.block_digests import BlockDigests, Span
from avocet_grpc.mirror.fs.disk import FileChanged, Lease
from avocet_grpc.mirror.fs.exchange import DISPLACED, displaced_by, remove_half_built
from avocet_grpc.mirror.fs.lease import lease_now, take_lease
from avocet_grpc.mirror.fs.scan import LineScanner
from avocet_grpc.mirror.fs.signature import Signature, has_writer, signature
from avocet_grpc.mirror.inbound.verdicts import Read
from avocet_grpc.mirror.index import DisplacedRow
from avocet_grpc.mirror.outbound.reuse import Copy
from avocet_grpc.mirror.session import Session
from avocet_grpc.telemetry import failpoints

log = structlog.get_logger(__name__)

DRAIN_S = 60.0
DRAIN_AT_STOP_S = 1.0
SETTLE_S = 10.0
"""How long one that grew while it was displaced must be still before what that may hide is looked for."""
REST_S = 1.0
"""How long a displaced file that is not as noted must be still before it is read as a whole."""
HELD_AT_STOP_S = 3.0
"""How long a stop waits for programs that have a displaced file open and do not write."""
LINES_AT_ONCE = 1_000
BYTES_AT_ONCE = 8 * 1024 * 1024
SET_ASIDE = re.compile(r"\.from-([0-9]+)(?:-([0-9a-f]+))?\.displaced$")


class Drain:
    """All displaced files of one shared file."""

    def __init__(self, session: Session, path: Path) -> None:
        self._session, self._path = session, path
        self._displaced: list[Displaced] = []

    def __len__(self) -> int:
        return len(self._displaced)

    def find(self) -> None:
        """At start: find what replacements left behind. Raises OSError."""
        session = self._session
        noted = {row.name: row for row in session.index.displaced(session.file)}
        current = signature(session.disk, self._path)
        remove_half_built(session.disk, self._path)
        for path in displaced_by(session.disk, self._path):
            row = noted.pop(path.name, None)
            found = signature(session.disk, path)
            if found is None:
                continue
            if current is not None and found.same_file(current):
                # The exchange never happened: it is another name of the file itself.
                self._drop(path)
            elif set_aside := SET_ASIDE.search(path.name):
                size = int(set_aside[1])
                row = DisplacedRow(path.name, found.device, found.inode, size, found.mtime_ns, size)
                self._displaced.append(Displaced(session, path, row, set_aside[2]))
            else:
                self._displaced.append(Displaced(session, path, row))
        for name in noted:
            self._forget(name)

    def add(self, old: Displaced) -> None:
        """A replacement displaced this file just now."""
        self._displaced.append(old)

    def has_writers(self) -> bool:
        """Return whether a program has one of them open for writing. Raises OSError."""
        return any(has_writer(self._session.disk, old.path) is True for old in self._displaced)

    def is_behind(self) -> bool:
        """Return whether a program wrote to one of them what was not read yet. Raises OSError."""
        found = ((signature(self._session.disk, old.path), old.read_to) for old in self._displaced)
        return any(now is not None and now.size > read_to for now, read_to in found)

    def blanked(self, places: Sequence[Span], blocks: BlockDigests) -> None:
        """Those places were blanked in the file with these blocks, which took the place of these."""
        for old in self._displaced:
            old.was_blanked(places, blocks)

    def can_serve(self, blocks: BlockDigests) -> bool:
        """Return whether a displaced file may serve again, and nobody has it open. Raises OSError."""
        usable = (old for old in self._displaced if old.may_serve(blocks))
        return any(lease_now(self._session.disk, old.path) is Lease.GRANTED for old in usable)

    def claim(self, blocks: BlockDigests, path: Path) -> Copy | None:
        """Take a displaced file to serve again, open, under the name `path`; None if there is none.

        Nobody has it open, and nobody will under its new name; what a crash leaves there is removed by `find`. Raises
        OSError.
        """
        disk, clock = self._session.disk, self._session.clock
        for old in reversed(self._displaced):
            if not old.may_serve(blocks):
                continue
            descriptor = disk.open_to_change(old.path)
            try:
                granted = take_lease(disk, clock, descriptor, 0) is Lease.GRANTED
                if granted and self._is_free(old, descriptor):
                    self._claim(old, path)
                    return Copy(path, descriptor, blocks.origin, old.common, old.blanked)
            except BaseException:
                disk.close(descriptor)
                raise
            disk.close(descriptor)
        return None

    def _is_free(self, old: Displaced, descriptor: int) -> bool:
        """Return whether it may serve, now that nobody can write to it any more."""
        if old.grew:
            old.settle(descriptor)
        return old.blocks is not None and old.may_serve(old.blocks)

    def _claim(self, old: Displaced, path: Path) -> None:
        disk = self._session.disk
        disk.rename(old.path, path)
        self._displaced.remove(old)
        try:
            # Both are durable before a byte of it changes: what is written to it from now on is not a late line.
            disk.sync_directory(path.parent)
            self._forget(old.path.name)
        except Exception:
            disk.unlink(path)
            raise
        failpoints.hit("reuse.claimed")

    def run(self, *, stopping: bool) -> None:
        """Save what is written to them; drop those that nobody writes any more. Raises OSError or FileChanged."""
        disk = self._session.disk
        for old in list(self._displaced):
            found, still = old.look()
            if found is None:
                self._forget(old.path.name)
                self._displaced.remove(old)
                continue
            if old.grew and (stopping or still >= SETTLE_S):
                with disk.reading(old.path) as descriptor:
                    old.settle(descriptor)
            exact = old.only_grew(found)
            if exact and found.size > old.read_to:
                self._save(old, found, exact, whole_lines=True)
            patience = DRAIN_AT_STOP_S if stopping else DRAIN_S if exact else REST_S
            is_linked = old.has_other_names() and not stopping
            if still < patience or has_writer(disk, old.path) or is_linked:
                if stopping and still >= HELD_AT_STOP_S:
                    self._save(old, found, exact, whole_lines=True)
                    self._set_aside(old)
                continue
            self._save(old, found, exact, whole_lines=False)
            if signature(disk, old.path) == found:
                self._drop(old.path)
                self._displaced.remove(old)

    def _set_aside(self, old: Displaced) -> None:
        """Leave it for the next start; its name says up to where it was read, since the index may be gone then."""
        disk = self._session.disk
        stem = SET_ASIDE.sub("", old.path.name).removesuffix(DISPLACED)
        end = end_digest(self._session, old.path, old.read_to)
        path = old.path.with_name(f"{stem}.from-{old.read_to}-{end}{DISPLACED}")
        disk.rename(old.path, path)
        disk.sync_directory(path.parent)
        self._forget(old.path.name)
        self._displaced.remove(old)
        log.warning("another program has the old file open; what it still writes is taken in at the next start")

    def _drop(self, path: Path) -> None:
        self._session.disk.unlink(path)
        failpoints.hit("drain.unlinked")
        self._forget(path.name)

    def _forget(self, name: str) -> None:
        with self._session.index.transaction():
            self._session.index.forget_displaced(self._session.file, name)

    def _save(self, old: Displaced, found: Signature, exact: bool, whole_lines: bool) -> None:
        """Take in what stands there unread, else what is new in the whole; in one commit with how far it was read."""
        session, seen, versions = self._session, set[str](), Versions()
        if not exact:
            for reads, _ in self._parts(old.path, 0, found.size, whole_lines):
                versions.note(session, reads)
        for reads, end in self._parts(old.path, old.read_to if exact else 0, found.size, whole_lines):
            failpoints.hit("drain.read")
            with session.index.transaction():
                if exact:
                    take_late(session, self._path, old, reads, found.mtime)
                else:
                    take_whole(session, self._path, old, reads, seen, versions, found.mtime)
                if old.noted is not None:
                    session.index.note_displaced(session.file, replace(old.noted, read_to=max(old.read_to, end)))
            failpoints.hit("drain.saved")
            old.was_read(end)
            if exact and reads:
                log.warning("lines saved from a displaced file", file=SHARED_FILES[session.file], lines=len(reads))

    def _parts(self, path: Path, start: int, stop: int, whole_lines: bool) -> Iterator[tuple[list[Read], int]]:
        """Give the lines between the offsets, some at a time, with the offset behind them. Raises FileChanged."""
        session = self._session
        with session.disk.reading(path) as descriptor:
            if descriptor < 0:
                raise FileChanged
            scanner = LineScanner(session.disk, descriptor, start, stop)
            reads: list[Read] = []
            for line in scanner:
                reads.append(Read(line, session.aside.parsed(line), 0))
                if len(reads) == LINES_AT_ONCE or scanner.end - start > BYTES_AT_ONCE:
                    yield reads, scanner.end
                    reads, start = [], scanner.end
            end = scanner.end
            if not whole_lines:
                end = stop
                reads += [Read(scanner.rest, session.aside.parsed(scanner.rest), 0)] if scanner.rest is not None else []
            if end > start:
                yield reads, end
