"""The files that swaps took away: whoever had one open may still write to it, and none is deleted unread."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from avocet_grpc.core.model import File, LineKind, ParsedLine, Sync
from avocet_grpc.core.ports.files import DisplacedFile, Store, Transaction
from avocet_grpc.core.record import content_digest_before_4, difference, load, parse
from avocet_grpc.shared_files import reconcile, swap
from avocet_grpc.shared_files.blocks import Blocks, Span
from avocet_grpc.shared_files.displaced import MOST_BLANKED, Displaced, end_before
from avocet_grpc.shared_files.patch import refusal, take_lease
from avocet_grpc.shared_files.scan import FileChanged, LineScanner, opened
from avocet_grpc.shared_files.twin import Base
from avocet_grpc.shared_files.watch import Signature, has_writer, signature
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

    def __init__(self, store: Store, file: File, path: Path) -> None:
        self._store, self._file, self._path = store, file, path
        self._displaced: list[Displaced] = []

    def __len__(self) -> int:
        return len(self._displaced)

    def find(self) -> None:
        """At start: what swaps left behind. Raises OSError or StorageFailed."""
        noted = {one.name: one for one in self._store.read(lambda reader: reader.displaced(self._file))}
        current = signature(self._path)
        for path in swap.left_over(self._path):
            note = noted.pop(path.name, None)
            found = signature(path)
            if found is None:
                continue
            if current is not None and found.same_file(current):
                # The exchange never happened: it is another name of the file itself.
                self._drop(Displaced(path, note))
            elif set_aside := SET_ASIDE.search(path.name):
                size = int(set_aside[1])
                note = DisplacedFile(path.name, found.device, found.inode, size, found.mtime_ns, size)
                self._displaced.append(Displaced(path, note, set_aside[2]))
            else:
                self._displaced.append(Displaced(path, note))
        for name in noted:
            self._forget(name)

    def add(self, old: Displaced) -> None:
        """A swap displaced this file just now."""
        self._displaced.append(old)

    def blanked(self, places: list[Span], blocks: Blocks) -> None:
        """Those places were blanked in the file with these blocks, which took the place of these."""
        for old in self._displaced:
            if old.blocks is not None and old.blocks.origin is blocks.origin and len(old.blanked) <= MOST_BLANKED:
                old.blanked += places

    def has_twin(self, blocks: Blocks) -> bool:
        """Whether a displaced file can serve as a twin of the file with these blocks. Raises OSError."""
        return any(old.is_twin_of(blocks) and refusal(old.path) is None for old in self._displaced)

    def claim_twin(self, blocks: Blocks, path: Path) -> Base | None:
        """Such a file, taken out of the drain, named `path` and under the write lease; None where there is none.

        Nobody has it open, and nobody will under its new name; what a crash leaves there is removed by `find`. Raises
        OSError or StorageFailed.
        """
        for old in reversed(self._displaced):
            if not old.is_twin_of(blocks):
                continue
            descriptor = os.open(old.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if take_lease(descriptor, 0) is None and self._is_free(old, descriptor):
                    self._claim(old, path)
                    return Base(path, descriptor, blocks.origin, old.common, old.blanked)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        return None

    def _is_free(self, old: Displaced, descriptor: int) -> bool:
        """Now that nobody can write to it any more."""
        if old.doubtful:
            old.settle(descriptor)
        return old.blocks is not None and old.is_twin_of(old.blocks)

    def _claim(self, old: Displaced, path: Path) -> None:
        os.rename(old.path, path)
        self._displaced.remove(old)
        try:
            # Both are durable before a byte of it changes: what is written to it from now on is no late line of others.
            swap.sync_directory(path.parent)
            self._forget(old.path.name)
        except Exception:
            path.unlink()
            raise
        failpoints.hit("twin.claimed")

    def run(self, stopping: bool) -> None:
        """Save what is written to them; drop those that nobody writes any more. Raises OSError or StorageFailed."""
        for old in list(self._displaced):
            found, still = old.look()
            if found is None:
                self._forget(old.path.name)
                self._displaced.remove(old)
                continue
            if old.doubtful and (stopping or still >= SETTLE_S):
                with opened(old.path) as descriptor:
                    old.settle(descriptor)
            exact = old.only_grew(found)
            if exact and found.size > old.read_to:
                self._save(old, found, exact, whole_lines=True)
            patience = DRAIN_AT_STOP_S if stopping else DRAIN_S if exact else REST_S
            if still < patience or has_writer(old.path) or (old.has_other_names() and not stopping):
                if stopping and still >= HELD_AT_STOP_S:
                    self._save(old, found, exact, whole_lines=True)
                    self._set_aside(old)
                continue
            self._save(old, found, exact, whole_lines=False)
            if signature(old.path) == found:
                self._drop(old)
                self._displaced.remove(old)

    def _set_aside(self, old: Displaced) -> None:
        """Leave it for the next start; its name says up to where it was read, since the ledger may be gone then."""
        stem = SET_ASIDE.sub("", old.path.name).removesuffix(swap.DISPLACED)
        end = end_before(old.path, old.read_to)
        path = old.path.with_name(f"{stem}.from-{old.read_to}-{end}{swap.DISPLACED}")
        os.rename(old.path, path)
        swap.sync_directory(path.parent)
        self._forget(old.path.name)
        self._displaced.remove(old)
        log.warning("another program has the old file open; what it still writes is taken in at the next start")

    def _drop(self, old: Displaced) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(old.path)
        failpoints.hit("drain.unlinked")
        self._forget(old.path.name)

    def _forget(self, name: str) -> None:
        self._store.write(lambda tx: tx.drop_displaced(self._file, name)).result()

    def _save(self, old: Displaced, found: Signature, exact: bool, whole_lines: bool) -> None:
        """Take in what stands there unread, else what is new in the whole; in one change with how far it was read."""
        seen = None if exact else set[str]()
        for lines, end in _parts(old.path, old.read_to if exact else 0, found.size, whole_lines):
            failpoints.hit("drain.read")
            self._store.write(partial(self._take_in, old=old, lines=lines, end=end, seen=seen)).result()
            failpoints.hit("drain.rescued")
            old.read_to = max(old.read_to, end)

    def _take_in(
        self, tx: Transaction, old: Displaced, lines: list[ParsedLine], end: int, seen: set[str] | None
    ) -> None:
        """`seen` are the ids that stand before these lines in a file that is read as a whole."""
        saved = 0
        for line in lines:
            if seen is None:
                saved += self._take_late(tx, line)
                continue
            again = line.columns is not None and line.columns.id in seen
            if line.columns is not None:
                seen.add(line.columns.id)
            if self._is_news(tx, line):
                saved += self._take_late(tx, line) if again else self._take_other(tx, line, old)
        if old.noted is not None:
            tx.note_displaced(self._file, replace(old.noted, read_to=max(old.read_to, end)))
        if saved:
            log.warning("lines saved from a displaced file", file=self._path.name, lines=saved)

    def _is_news(self, tx: Transaction, line: ParsedLine) -> bool:
        """Whether the ledger never had the line; what others deleted since does not come back by an old file."""
        if line.columns is None:
            return not tx.has_malformed(self._file, line.digest)
        id = line.columns.id
        if tx.was_ours(self._file, id, content_digest_before_4(line.record or {})) or tx.has_duplicate(
            self._file, id, line.digest
        ):
            return False
        last = next((entry for entry in tx.history(id) if entry.file is self._file), None)
        return last is None or last.action != "delete"

    def _take_late(self, tx: Transaction, line: ParsedLine) -> bool:
        kind = tx.save(self._file, line)
        if kind is LineKind.RECORD and line.columns is not None:
            reconcile.note(tx, self._file, line.columns.id, "import", line.columns.status, None)
        return True

    def _take_other(self, tx: Transaction, line: ParsedLine, old: Displaced) -> bool:
        """Of a file that is read as a whole. A decision of ours that had not reached it wins."""
        if line.columns is None or (standing := tx.line_of(self._file, line.columns.id)) is None:
            return self._take_late(tx, line)
        if standing.digest == line.digest:
            return False
        if standing.sync is not Sync.CLEAN or standing.revision > old.level_at:
            reconcile.note_overruled(tx, self._file, line.columns.id, line.record or {})
            return False
        previous = difference(load(tx.raw(standing.key)), line.record or {})
        tx.replace(standing.key, line)
        reconcile.note(tx, self._file, line.columns.id, "edit", line.columns.status, previous)
        return True


def _parts(path: Path, start: int, stop: int, whole_lines: bool) -> Iterator[tuple[list[ParsedLine], int]]:
    """The lines between the offsets, some at a time, with the offset behind them. Raises FileChanged."""
    with opened(path) as descriptor:
        if descriptor < 0:
            raise FileChanged
        scanner = LineScanner(descriptor, start, stop)
        lines: list[ParsedLine] = []
        for _, raw in scanner:
            lines.append(parse(raw))
            if len(lines) == LINES_AT_ONCE or scanner.end - start > BYTES_AT_ONCE:
                yield lines, scanner.end
                lines, start = [], scanner.end
        end = scanner.end
        if not whole_lines:
            end = stop
            lines += [parse(scanner.rest)] if scanner.rest.strip() else []
        if end > start:
            yield lines, end
